# The one image of all of Airflow's processes; docker-compose.yaml says which of them a container runs.
# The slim image: the other one brings providers that nobody here uses, at versions that constraints.txt does not pin.
FROM apache/airflow:slim-3.3.2-python3.11

WORKDIR /opt/datamart
COPY requirements-run.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements-run.txt -c constraints.txt && pip check

COPY dags dags
COPY plugins plugins
COPY include include
COPY sql sql
COPY embedded/__init__.py embedded/roles.py embedded/airflow_setup.py embedded/
COPY deploy/compose/prepare.py deploy/compose/
ENV PYTHONPATH=/opt/datamart/include

# What runs may write nothing here: so what Python and Airflow would write at their first start is made now.
USER root
RUN chmod -R a+rX /opt/datamart && python -m compileall -q dags plugins include && touch /opt/airflow/airflow.cfg
USER airflow
