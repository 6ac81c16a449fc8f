"""The template for AWS: lint says nothing, and what a simulation makes of it is as private as it is meant to be."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from datamart.loads import Arrival
from datamart.objects import EXCHANGE, archive_key, clean_key, quarantine_key, rejected_key
from datamart.uploads import PREFIX as UPLOADS
from embedded.settings import REPOSITORY
from tests.deploy.simulation import ACCOUNT, NOT_SIMULATED, PUT, REGION, Made, made_stack
from tests.deploy.template import FILE, FOLDER, listed, nodes, statements, template

PARAMETERS: dict[str, dict[str, str]] = {
    "none": {},
    "all": {"Host": "compose", "RepositoryUrl": "https://example.com/datamart.git", "Mwaa": "environment"},
}

WHOLE_ACTIONS = {
    ("Key", "AdministrationByIdentityPolicies"): "a key that its account cannot manage is lost; policies of IAM decide",
}
"""Statements that allow every action of a service, each with its reason."""
WHOLE_RESOURCES = {
    ("Key", "AdministrationByIdentityPolicies"): "in the policy of a key, * is that key",
    ("Key", "EventsOfTheDataBucketToTheQueue"): "in the policy of a key, * is that key",
    ("Key", "LogsOfTheEnvironment"): "in the policy of a key, * is that key",
    ("MwaaRole", "WithoutResource"): "both actions know no resource; they only read",
    ("MwaaRole", "Metrics"): "the action knows no resource; the namespace of the metrics is given",
}
"""Statements that allow something of every resource, each with its reason."""
OTHER_ACCOUNTS = {
    ("MwaaRole", "Tasks"): "queues of Airflow's executor are in accounts of Amazon MWAA, which do not say which",
}
"""Statements that allow something of resources of other accounts, each with its reason."""

WHOLE = template()
RESOURCES: dict[str, Any] = WHOLE["Resources"]
ALLOWED = [
    pytest.param(name, statement, id=f"{name}-{statement.get('Sid', number)}")
    for name, resource in RESOURCES.items()
    for number, statement in enumerate(statements(resource))
    if statement["Effect"] == "Allow"
]
BUCKETS = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::S3::Bucket"]


@pytest.fixture(scope="module", params=PARAMETERS)
def made(request: pytest.FixtureRequest) -> Iterator[Made]:
    """The stack with its defaults, and with all that can be asked for."""
    with made_stack(PARAMETERS[request.param]) as stack:
        yield stack


def airflow_policy(made: Made) -> list[dict[str, Any]]:
    """What Airflow may do, with all names resolved."""
    iam, arn = made.client("iam"), made.outputs["AirflowPolicyArn"]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    return list(found["Statement"])


def buckets(made: Made) -> list[str]:
    """Names of all buckets that were made."""
    return [made.ids[name] for name in BUCKETS if name in made.ids]


# Without a simulation: the template as text.


def test_cfn_lint_says_nothing() -> None:
    from cfnlint.api import lint

    found = lint(FILE.read_text(encoding="utf-8"))
    assert [f"{one.linenumber}: {one.rule.id} {one.message}" for one in found] == []


def test_there_are_no_anchors() -> None:
    """CloudFormation's own YAML has none."""
    assert not re.search(r"(?m)(?:^|[\s\[{,])[&*]\w+(?=\s|$|[,\]}])", FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "statement"), ALLOWED)
def test_whoever_is_allowed_something_is_allowed_no_more(name: str, statement: dict[str, Any]) -> None:
    where = (name, statement.get("Sid", ""))
    actions, resources = listed(statement["Action"]), listed(statement.get("Resource", []))
    assert "NotAction" not in statement
    assert "NotResource" not in statement
    assert any("*" in action for action in actions) == (where in WHOLE_ACTIONS)
    assert ("*" in resources) == (where in WHOLE_RESOURCES)
    others = [one for one in map(text_of, resources) if re.match(r"[^*]*:\*:", one)]
    assert bool(others) == (where in OTHER_ACCOUNTS)
    for one in resources:
        assert one == "*" or not text_of(one).startswith("*")


def text_of(value: Any) -> str:
    """A name before it is resolved."""
    return value if isinstance(value, str) else json.dumps(value).replace("${AWS::", "${").replace("AWS::", "")


def test_reasons_are_given_for_nothing_else() -> None:
    there = {(name, one.get("Sid", "")) for name, resource in RESOURCES.items() for one in statements(resource)}
    assert {*WHOLE_ACTIONS, *WHOLE_RESOURCES, *OTHER_ACCOUNTS} <= there


@pytest.mark.parametrize(("name", "statement"), ALLOWED)
def test_a_service_acts_for_this_account_only(name: str, statement: dict[str, Any]) -> None:
    """Or for an instance of its own, whose role is given by who starts it."""
    principal = statement.get("Principal", {})
    assert principal not in ("*", {"AWS": "*"})
    services = listed(principal.get("Service", []))
    if services and services != ["ec2.amazonaws.com"]:
        keys = {key for test in statement["Condition"].values() for key in test}
        assert keys & {"aws:SourceAccount", "sts:ExternalId", "kms:EncryptionContext:aws:logs:arn"}, name
        assert "AccountId" in json.dumps(statement["Condition"])


def test_each_parameter_is_described_and_none_is_a_secret() -> None:
    for name, parameter in WHOLE["Parameters"].items():
        assert len(parameter["Description"]) > 20, name
        assert "Default" in parameter, "the stack can be made without an answer"
        assert not re.search(r"passw|secret|token|credential", name, re.IGNORECASE)
        assert "NoEcho" not in parameter


def test_no_password_is_written_down() -> None:
    for node in nodes(RESOURCES):
        if isinstance(node, dict):
            assert not {"AdminUserPassword", "MasterUserPassword", "AccessKeyId", "SecretAccessKey"} & set(node)
    for name in ("WarehouseConnection", "WarehouseReadConnection"):
        properties = RESOURCES[name]["Properties"]
        assert "SecretString" not in properties
        assert properties["GenerateSecretString"]["GenerateStringKey"] == "password"
        assert "password" not in properties["GenerateSecretString"]["SecretStringTemplate"]["Fn::Sub"]
    assert "{{resolve:" not in FILE.read_text(encoding="utf-8")


def test_the_warehouse_is_reached_by_tls_from_the_network_alone() -> None:
    workgroup, namespace = RESOURCES["Workgroup"]["Properties"], RESOURCES["Namespace"]["Properties"]
    told = {one["ParameterKey"]: one["ParameterValue"] for one in workgroup["ConfigParameters"]}
    assert (workgroup["PubliclyAccessible"], workgroup["EnhancedVpcRouting"]) == (False, True)
    assert told["require_ssl"] == "true"
    assert len(workgroup["SubnetIds"]) == 3
    assert namespace["KmsKeyId"] == namespace["AdminPasswordSecretKmsKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert namespace["ManageAdminPassword"] is True
    assert set(namespace["LogExports"]) == {"userlog", "connectionlog", "useractivitylog"}


def test_nobody_comes_in_from_outside() -> None:
    for name, resource in RESOURCES.items():
        if resource["Type"] in ("AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"):
            rules = [resource["Properties"], *resource["Properties"].get("SecurityGroupIngress", [])]
            assert not any("CidrIp" in rule or "CidrIpv6" in rule for rule in rules), name
    assert RESOURCES["MwaaEnvironment"]["Properties"]["WebserverAccessMode"] == "PRIVATE_ONLY"


def test_access_to_buckets_is_logged() -> None:
    for name in BUCKETS:
        if name != "LogBucket":
            given = RESOURCES[name]["Properties"]["LoggingConfiguration"]
            assert given["DestinationBucketName"] == {"Ref": "LogBucket"}
            assert given["LogFilePrefix"].startswith("s3/")
    (logs,) = [one for one in statements(RESOURCES["LogBucketPolicy"]) if one.get("Sid") == "LogsOfBuckets"]
    assert logs["Resource"] == {"Fn::Sub": "${LogBucket.Arn}/s3/*"}


def test_what_holds_data_stays_when_the_stack_goes() -> None:
    holding = {"AWS::S3::Bucket", "AWS::KMS::Key", "AWS::RedshiftServerless::Namespace"}
    for name, resource in RESOURCES.items():
        if resource["Type"] in holding:
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert resource["UpdateReplacePolicy"] == "Retain", name


def test_each_suppression_says_why() -> None:
    for resource in RESOURCES.values():
        for skipped in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert len(skipped["comment"]) > 30


# In the simulation.


def test_all_is_made_that_can_be(made: Made) -> None:
    can_be = {name: one for name, one in RESOURCES.items() if one["Type"] not in {*NOT_SIMULATED, *PUT}}
    always = {name for name, one in can_be.items() if "Condition" not in one}
    assert made.ids.keys() in (always, can_be.keys())
    assert {one["Type"] for one in RESOURCES.values()} >= {*NOT_SIMULATED, *PUT}


def test_buckets_are_encrypted_versioned_and_private(made: Made) -> None:
    s3, key = made.client("s3"), f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{made.ids['Key']}"
    assert RESOURCES["Key"]["Properties"]["EnableKeyRotation"] is True
    for bucket in buckets(made):
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        by = rule["ApplyServerSideEncryptionByDefault"]
        if bucket == made.ids["LogBucket"]:
            assert by == {"SSEAlgorithm": "AES256"}
        else:
            assert (by["SSEAlgorithm"], by["KMSMasterKeyID"]) == ("aws:kms", key)
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert blocked == dict.fromkeys(
            ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
        )


def test_buckets_take_tls_only(made: Made) -> None:
    for bucket in buckets(made):
        policy = json.loads(made.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])
        (refused,) = [one for one in policy["Statement"] if one["Effect"] == "Deny"]
        assert (refused["Principal"], refused["Action"]) == ({"AWS": "*"}, "s3:*")
        assert set(refused["Resource"]) == {f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"}
        assert refused["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_what_is_old_goes(made: Made) -> None:
    s3 = made.client("s3")
    for bucket in buckets(made):
        rules = {one["ID"]: one for one in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
        assert all(one["Status"] == "Enabled" for one in rules.values())
        assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
        if bucket != made.ids["LogBucket"]:
            assert rules["old-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
        if bucket == made.outputs["DataBucketName"]:
            exchange = rules["exchange"]
            assert exchange.get("Prefix", exchange.get("Filter", {}).get("Prefix")) == EXCHANGE
            assert exchange["Expiration"]["Days"] == 2


def test_the_queue_is_told_of_what_lands_and_of_nothing_else(made: Made) -> None:
    s3, sqs = made.client("s3"), made.client("sqs")
    data, queue = made.outputs["DataBucketName"], made.outputs["LandingQueueUrl"]
    sqs.purge_queue(QueueUrl=queue)
    policy = s3.get_bucket_policy(Bucket=data)["Policy"]
    s3.delete_bucket_policy(Bucket=data)  # moto overlooks its condition: nothing could be put
    for key in ("landing/jobs.csv", "historic/jobs.csv", "archive/landing/jobs.csv"):
        s3.put_object(Bucket=data, Key=key, Body=b"1,Archivist\n")
    s3.put_bucket_policy(Bucket=data, Policy=policy)
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)["Messages"]
    records = [one for message in messages for one in json.loads(message["Body"])["Records"]]
    assert [unquote(one["s3"]["object"]["key"]) for one in records] == ["landing/jobs.csv"]
    assert records[0]["s3"]["bucket"]["name"] == data


def test_the_queue_is_encrypted_and_takes_from_the_bucket_alone(made: Made) -> None:
    sqs = made.client("sqs")
    told = sqs.get_queue_attributes(QueueUrl=made.outputs["LandingQueueUrl"], AttributeNames=["All"])["Attributes"]
    assert told["KmsMasterKeyId"].endswith(made.ids["Key"])
    assert json.loads(told["RedrivePolicy"])["deadLetterTargetArn"].endswith("-landing-dead-letters")
    allowed = [one for one in json.loads(told["Policy"])["Statement"] if one["Effect"] == "Allow"]
    assert [(one["Principal"], one["Action"]) for one in allowed] == [
        ({"Service": "s3.amazonaws.com"}, "sqs:SendMessage")
    ]
    assert allowed[0]["Condition"] == {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{made.outputs['DataBucketName']}"},
    }


def allows(policy: list[dict[str, Any]], action: str, resource: str) -> bool:
    """As IAM would, without conditions."""
    return any(
        one["Effect"] == "Allow"
        and action in listed(one["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in listed(one["Resource"]))
        for one in policy
    )


def test_airflow_may_write_where_the_product_writes(made: Made) -> None:
    policy, data = airflow_policy(made), f"arn:aws:s3:::{made.outputs['DataBucketName']}"
    landed = Arrival("data", "landing/jobs.csv", '"1"', datetime(2026, 1, 1, tzinfo=UTC), 1)
    kept = [
        clean_key("jobs", 1, 0), rejected_key("jobs", 1), archive_key("jobs", landed, 1), quarantine_key(landed, 1),
        f"{EXCHANGE}1/part-0.parquet", f"{UPLOADS}1/jobs.csv",
    ]  # fmt: skip
    for key in kept:
        assert allows(policy, "s3:PutObject", f"{data}/{key}"), key
        assert allows(policy, "s3:GetObject", f"{data}/{key}"), key
    for key in ("landing/jobs.csv", "historic/jobs.csv", "people/jobs.csv"):
        assert allows(policy, "s3:GetObject", f"{data}/{key}"), key
        assert not allows(policy, "s3:PutObject", f"{data}/{key}"), key
    assert allows(policy, "s3:DeleteObject", f"{data}/landing/jobs.csv")
    assert not allows(policy, "s3:DeleteObject", f"{data}/historic/jobs.csv")
    assert not allows(policy, "s3:DeleteObject", f"{data}/{kept[2]}"), "nothing removes an archived file"
    backup = f"arn:aws:s3:::{made.outputs['BackupBucketName']}/1/manifest.json"
    assert all(allows(policy, f"s3:{one}Object", backup) for one in ("Get", "Put", "Delete"))


def test_airflow_may_use_the_versions_of_landed_files(made: Made) -> None:
    policy, data = airflow_policy(made), f"arn:aws:s3:::{made.outputs['DataBucketName']}"
    for right in ("s3:GetBucketVersioning", "s3:ListBucketVersions"):
        assert allows(policy, right, data), right
    for key in ("landing/jobs.csv", f"{UPLOADS}1/jobs.csv", "historic/jobs.csv"):
        assert allows(policy, "s3:GetObjectVersion", f"{data}/{key}"), key
        assert allows(policy, "s3:GetObjectVersionTagging", f"{data}/{key}"), "a copy of a version has its tags"
        assert allows(policy, "s3:DeleteObjectVersion", f"{data}/{key}") == (not key.startswith("historic/")), key
    for key in ("archive/jobs/1-jobs.csv", "quarantine/1-jobs.csv", "clean/jobs/1/part-0.parquet"):
        assert not allows(policy, "s3:DeleteObjectVersion", f"{data}/{key}"), key


def test_airflow_reads_its_connections_and_no_other_secret(made: Made) -> None:
    policy, secrets = airflow_policy(made), made.client("secretsmanager")
    for name in ("warehouse", "warehouse_read", "object_store"):
        arn = secrets.describe_secret(SecretId=f"airflow/connections/{name}")["ARN"]
        assert allows(policy, "secretsmanager:GetSecretValue", arn)
    other = secrets.create_secret(Name="payroll", SecretString="x")["ARN"]
    secrets.delete_secret(SecretId="payroll", ForceDeleteWithoutRecovery=True)
    assert not allows(policy, "secretsmanager:GetSecretValue", other)


def connections(made: Made) -> dict[str, dict[str, Any]]:
    """The secrets of the connections."""
    secrets = made.client("secretsmanager")
    return {
        name: json.loads(secrets.get_secret_value(SecretId=f"airflow/connections/{name}")["SecretString"])
        for name in ("warehouse", "warehouse_read", "object_store")
    }


def test_passwords_are_long_differ_and_are_told_nowhere(made: Made) -> None:
    found = connections(made)
    passwords = [found[name]["password"] for name in ("warehouse", "warehouse_read")]
    assert len(set(passwords)) == 2
    for password in passwords:
        assert re.fullmatch(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[A-Za-z0-9]{48}", password), "as Redshift takes it"
        assert password not in json.dumps(made.outputs)
    assert "password" not in found["object_store"]


def test_outputs_show_the_connections_without_what_is_secret(made: Made) -> None:
    found = connections(made)
    for name, output in (
        ("warehouse", "WarehouseConnectionSkeleton"),
        ("warehouse_read", "WarehouseReadConnectionSkeleton"),
        ("object_store", "ObjectStoreConnectionSkeleton"),
    ):
        shown = json.loads(made.outputs[output])
        assert shown == {key: value for key, value in found[name].items() if key != "password"}


def test_airflow_understands_the_connections(made: Made) -> None:
    """By its own backend, which is told what the template and the compose file tell it."""
    from airflow.providers.amazon.aws.secrets.secrets_manager import SecretsManagerBackend
    from airflow.sdk import Connection

    told = RESOURCES["MwaaEnvironment"]["Properties"]["AirflowConfigurationOptions"]["secrets.backend_kwargs"]
    options = json.loads(told["Fn::Sub"].replace("${ConnectionsPrefix}", made.outputs["ConnectionsPrefixInUse"]))
    compose = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    said = yaml.safe_load(compose)["x-aws"]["AIRFLOW__SECRETS__BACKEND_KWARGS"]
    assert json.loads(said.replace("${CONNECTIONS_PREFIX:?}", made.outputs["ConnectionsPrefixInUse"])) == options
    backend = SecretsManagerBackend(**options, region_name=REGION)
    for name, kind in (("warehouse", "redshift"), ("warehouse_read", "redshift"), ("object_store", "aws")):
        connection = Connection.from_json(backend.get_conn_value(name), conn_id=name)
        assert connection.conn_type == kind
        if kind == "redshift":
            assert (connection.host, connection.port) == (made.outputs["WarehouseEndpoint"], 5439)
            assert connection.schema == made.outputs["DatabaseName"]
    role = Connection.from_json(backend.get_conn_value("warehouse")).extra_dejson["iam_role"]
    assert role == made.outputs["WarehouseRoleArn"]
    assert backend.get_conn_value("somebody_else") is None


def test_the_host_is_private_and_asks_for_tokens(made: Made) -> None:
    if "HostInstance" not in made.ids:
        assert not made.ids.keys() & {"HostTemplate", "HostRole", "NatGateway"}, (
            "nothing of a host that nobody asked for"
        )
        return
    ec2 = made.client("ec2")
    (reservation,) = ec2.describe_instances(InstanceIds=[made.ids["HostInstance"]])["Reservations"]
    (host,) = reservation["Instances"]
    assert host["IamInstanceProfile"]["Arn"].endswith(made.ids["HostProfile"])
    found = ec2.describe_launch_template_versions(LaunchTemplateId=made.ids["HostTemplate"])
    (version,) = found["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"] == "required"


def test_the_host_is_in_a_private_subnet_and_its_disk_is_encrypted() -> None:
    """In the template: moto overlooks both."""
    host = RESOURCES["HostInstance"]["Properties"]
    (disk,) = host["BlockDeviceMappings"]
    assert disk["Ebs"]["Encrypted"] is True
    (interface,) = host["NetworkInterfaces"]
    assert interface["AssociatePublicIpAddress"] is False
    assert interface["SubnetId"] == {"Ref": "PrivateSubnetA"}
    assert not any(one["Properties"].get("MapPublicIpOnLaunch") for one in RESOURCES.values() if "Properties" in one)


def test_the_host_starts_what_the_repository_has() -> None:
    script = RESOURCES["HostInstance"]["Properties"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    subprocess.run(["bash", "-n"], input=re.sub(r"\$\{[^}]+\}", "x", script), text=True, check=True)
    assert not re.search(r"password|secret", script, re.IGNORECASE)
    for path in re.findall(r"/opt/datamart/(\S+)", script):
        assert (REPOSITORY / path).is_file(), path
    told = set(re.findall(r"(?m)^([A-Z_]+)=", script))
    asked = set(re.findall(r"\$\{(\w+):\?\}", (FOLDER / "compose.yaml").read_text(encoding="utf-8")))
    assert asked == told - {"COMPOSE_FILE"}


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_well_formed(script: Any) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
