#!/usr/bin/env bash
# Puts this project's code where an environment of Amazon MWAA reads it: deploy/aws/mwaa_code.sh STACK [FOLDER].
# With a FOLDER it only lays the files there. Wheels are among the plugins, as a private web server reaches no index.
set -euo pipefail
stack=$1
folder=${2:+$(realpath -m "$2")}
cd "$(dirname "$0")/../.."
: "${PYTHON:=python3}" "${MWAA_PYTHON:=3.12}"

place=${folder:-$(mktemp -d)}
[ -n "$folder" ] || trap 'rm -rf "$place"' EXIT
mkdir -p "$place/dags" "$place/plugins"

output() {
    aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}

cp dags/*.py "$place/dags/"
cp -r plugins/. include sql constraints.txt "$place/plugins/"
find "$place" -name __pycache__ -prune -exec rm -rf {} +
# Airflow runs each .py among the plugins that this file does not exclude.
printf 'include/\nsql/\n' >> "$place/plugins/.airflowignore"
"$PYTHON" -m pip download --quiet --only-binary :all: --python-version "$MWAA_PYTHON" --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --dest "$place/plugins" \
    --requirement requirements-run.txt --constraint constraints.txt
{
    printf -- '--no-index\n--find-links /usr/local/airflow/plugins\n--constraint /usr/local/airflow/plugins/constraints.txt\n'
    grep -v '^#' requirements-run.txt
} > "$place/requirements.txt"
# Not within the text below: there a name that is not found would not end the script.
data=$(output DataBucketName) backup=$(output BackupBucketName) queue=$(output LandingQueueUrl)
: "${data:?}" "${backup:?}" "${queue:?}"
cat > "$place/startup.sh" <<END
export PYTHONPATH=/usr/local/airflow/plugins/include
export DATAMART_DATA_BUCKET=$data
export DATAMART_BACKUP_BUCKET=$backup
export DATAMART_LANDING_QUEUE=$queue
export DATAMART_METADATA_KEEP_DAYS=
END
"$PYTHON" -m zipfile -c "$place/plugins.zip" "$place/plugins/."
[ -n "$folder" ] && exit

bucket=$(output MwaaBucketName)
for file in requirements.txt startup.sh plugins.zip; do
    aws s3 cp --only-show-errors "$place/$file" "s3://$bucket/$file"
done
aws s3 sync --only-show-errors --delete "$place/dags" "s3://$bucket/dags"
echo "The code is in s3://$bucket."
