#!/usr/bin/env bash
# Lints the template by cfn-lint and checkov, each in an environment of its own: what they need is at odds with
# constraints.txt. UV names the uv to use. The first run fetches both.
set -euo pipefail
cd "$(dirname "$0")"
uv=${UV:-uv}

"$uv" tool run --quiet --from cfn-lint==1.58.0 cfn-lint --non-zero-exit-code informational template.yaml
"$uv" tool run --quiet --from checkov==3.3.30 checkov --quiet --compact --framework cloudformation --file template.yaml
