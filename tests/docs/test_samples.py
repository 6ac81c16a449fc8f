"""A restart of the stack loads no samples over what people have done since."""

from __future__ import annotations

from typing import Any

import pytest

from embedded import stacksecrets
from embedded.airflow_api import AirflowApi
from embedded.console import Console
from embedded.demo import HISTORIC, INSIGHTS, Demo
from embedded.settings import Settings
from tests.product import Product
from tests.stack import Stack

CORRECTED = "Corrected by hand"
NOT_AGAIN = "The sample data is not loaded again: this stack has data already"


@pytest.fixture
def demo(stack: Stack) -> Demo:
    """What a start does when Airflow is up."""
    ports = {name.lower(): int(stack.variables[name]) for name in ("AIRFLOW_PORT", "S3_PORT", "POSTGRES_PORT")}
    settings = Settings(stack_dir=stack.directory, **ports, demo=True, airflow=True)
    env = stack.env
    api = AirflowApi(env["AIRFLOW_URL"], env["AIRFLOW_USER"], env["AIRFLOW_PASSWORD"])
    return Demo(settings, stacksecrets.load(settings.secrets_dir), api, Console(), lambda: None)


def historic(product: Product) -> dict[str, Any]:
    found = product.s3.list_objects_v2(Bucket=product.bucket, Prefix=HISTORIC).get("Contents", [])
    return {one["Key"]: one["LastModified"] for one in found}


def test_a_corrected_row_stays_as_it_is(demo: Demo, product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    demo.run()
    assert product.run(HISTORIC)[0] == "success"  # another test may have brought them by a replacement alone
    before = historic(product)
    ((name,),) = product.sql("SELECT department FROM public.departments WHERE id = 10")
    product.put("corrections/", "departments.csv", f"10,{CORRECTED}\n".encode())
    assert product.run("corrections/")[0] == "success"
    try:
        capsys.readouterr()
        demo.run()
        assert product.sql("SELECT department FROM public.departments WHERE id = 10") == [(CORRECTED,)]
        said = capsys.readouterr().out
        assert NOT_AGAIN in said
        assert all(title in said for title in INSIGHTS)
        assert historic(product) == before

        pending = demo.settings.stack_dir / "samples.pending"
        pending.touch()  # a first start that was ended before it was through with the samples
        demo.run()
        assert NOT_AGAIN not in capsys.readouterr().out
        assert not pending.exists()
        assert {key: historic(product)[key] for key in before} == before
        assert product.sql("SELECT department FROM public.departments WHERE id = 10") == [(CORRECTED,)]
    finally:
        product.do(f"UPDATE public.departments SET department = '{name}' WHERE id = 10")
