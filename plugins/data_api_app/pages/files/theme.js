// Light or dark as Airflow around this page is; by itself, as the system is. Runs before anything is painted.
(() => {
  const media = matchMedia("(prefers-color-scheme: dark)");
  const outer = window.parent === window ? null : window.parent.document.documentElement;
  const follow = () => {
    const dark = outer ? outer.classList.contains("dark") : media.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    dispatchEvent(new Event("theme"));
  };
  follow();
  media.addEventListener("change", follow);
  if (outer) new MutationObserver(follow).observe(outer, { attributes: true, attributeFilter: ["class"] });
})();
