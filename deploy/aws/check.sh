#!/usr/bin/env bash
# Lints the template by cfn-lint and checkov, each in an environment of its own: checkov asks for other versions than
# constraints.txt. UV names the uv to use. The first run fetches both.
set -euo pipefail
template=$(dirname "$0")/template.yaml
uv=${UV:-uv}

"$uv" tool run --quiet --from cfn-lint==1.58.0 cfn-lint --non-zero-exit-code informational "$template"
"$uv" tool run --quiet --from checkov==3.3.30 checkov \
    --skip-download --quiet --compact --framework cloudformation --file "$template"
