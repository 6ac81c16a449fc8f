"""The template, made in moto: by its CloudFormation what that knows, by its other services what it does not.

moto resolves all names itself: properties of what is put by hand come out of the stack as outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto import mock_aws

from tests.deploy.template import template, without

REGION = "us-east-1"  # of moto's CloudFormation, whatever region it is asked for, zones are those of this one
ACCOUNT = "123456789012"
NOT_SIMULATED = {
    "AWS::EC2::SecurityGroupEgress": "its CloudFormation does not know it; the template itself is looked at",
    "AWS::MWAA::Environment": "moto has no Amazon MWAA",
    "AWS::RedshiftServerless::Namespace": "moto has no Redshift Serverless",
    "AWS::RedshiftServerless::Workgroup": "moto has no Redshift Serverless",
}
"""Types that are not made, each with the reason."""

Clients = Callable[[str], Any]
Put = Callable[[Any, str, Any], object]


@dataclass(frozen=True)
class Made:
    """A stack in the simulation."""

    outputs: Mapping[str, str]
    ids: Mapping[str, str]
    """Physical ids by logical ones; of what is put by hand there is none."""

    def client(self, service: str) -> Any:
        """A client of the simulated service."""
        return boto3.client(service, region_name=REGION)


@contextmanager
def made_stack(parameters: Mapping[str, str]) -> Iterator[Made]:
    """The stack with these parameters, for as long as the block lasts."""
    whole = template()
    by_hand = {
        name: resource
        for name, resource in whole["Resources"].items()
        if resource["Type"] in PUT or resource["Type"] == "AWS::S3::Bucket"
    }
    for name, resource in by_hand.items():
        condition = {"Condition": resource["Condition"]} if "Condition" in resource else {}
        whole["Outputs"][_told(name)] = {"Value": {"Fn::ToJsonString": resource["Properties"]}} | condition
    with mock_aws():
        cloudformation = boto3.client("cloudformation", region_name=REGION)
        cloudformation.create_stack(
            StackName="hiring",
            TemplateBody=without(whole, {*NOT_SIMULATED, *PUT}),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        (stack,) = cloudformation.describe_stacks(StackName="hiring")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        found = cloudformation.describe_stack_resources(StackName="hiring")["StackResources"]
        ids = {  # of a resource whose condition does not hold there is an entry without names
            one["LogicalResourceId"]: one.get("PhysicalResourceId", "") for one in found if "LogicalResourceId" in one
        }
        made = Made(outputs, ids)
        told = {name: json.loads(outputs.pop(_told(name))) for name in by_hand if _told(name) in outputs}
        for kind in (*PUT, "AWS::S3::Bucket"):  # a bucket tells a queue only when the queue's policy lets it
            for name, properties in told.items():
                if by_hand[name]["Type"] == kind:
                    _put(made.client, kind, properties)
        yield made


def _told(name: str) -> str:
    return f"PropertiesOf{name}"


def _put(client: Clients, kind: str, properties: dict[str, Any]) -> None:
    if kind in PUT:
        PUT[kind](client, properties)
        return
    for name, given in properties.items():
        if name not in {*MADE, *NOT_PUT}:
            BUCKET[name](client("s3"), properties["BucketName"], given)


def _bucket_policy(client: Clients, given: dict[str, Any]) -> None:
    client("s3").put_bucket_policy(Bucket=given["Bucket"], Policy=json.dumps(given["PolicyDocument"]))


def _queue_policy(client: Clients, given: dict[str, Any]) -> None:
    for queue in given["Queues"]:
        policy = {"Policy": json.dumps(given["PolicyDocument"])}
        client("sqs").set_queue_attributes(QueueUrl=queue, Attributes=policy)


def _secret(client: Clients, given: dict[str, Any]) -> None:
    secrets = client("secretsmanager")
    text = given.get("SecretString")
    if text is None:
        how = dict(given["GenerateSecretString"])
        parts, key = json.loads(how.pop("SecretStringTemplate")), how.pop("GenerateStringKey")
        text = json.dumps(parts | {key: secrets.get_random_password(**how)["RandomPassword"]})
    secrets.create_secret(
        Name=given["Name"], Description=given["Description"], KmsKeyId=given["KmsKeyId"], SecretString=text
    )


PUT: dict[str, Callable[[Clients, dict[str, Any]], None]] = {
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::SecretsManager::Secret": _secret,
}
"""Types that moto's CloudFormation does not know, and how each is put."""


def _lifecycle(s3: Any, bucket: str, given: Any) -> object:
    rules = [_rule(one) for one in given["Rules"]]
    return s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def _rule(given: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"ID": given["Id"], "Status": given["Status"], "Filter": {"Prefix": given.get("Prefix", "")}}
    if "ExpirationInDays" in given:
        rule["Expiration"] = {"Days": given["ExpirationInDays"]}
    if "ExpiredObjectDeleteMarker" in given:
        rule["Expiration"] = {"ExpiredObjectDeleteMarker": given["ExpiredObjectDeleteMarker"]}
    if "NoncurrentVersionExpiration" in given:
        days = int(given["NoncurrentVersionExpiration"]["NoncurrentDays"])
        rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": days}
    if "AbortIncompleteMultipartUpload" in given:
        rule["AbortIncompleteMultipartUpload"] = given["AbortIncompleteMultipartUpload"]
    return rule


def _notification(s3: Any, bucket: str, given: Any) -> object:
    queues = [
        {
            "QueueArn": one["Queue"],
            "Events": [one["Event"]],
            "Filter": {"Key": {"FilterRules": one["Filter"]["S3Key"]["Rules"]}},
        }
        for one in given["QueueConfigurations"]
    ]
    return s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": queues}
    )


BUCKET: dict[str, Put] = {
    "VersioningConfiguration": lambda s3, bucket, given: s3.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration=given
    ),
    "OwnershipControls": lambda s3, bucket, given: s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls=given
    ),
    "PublicAccessBlockConfiguration": lambda s3, bucket, given: s3.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=given
    ),
    "LifecycleConfiguration": _lifecycle,
    "NotificationConfiguration": _notification,
}
"""Properties of a bucket that moto's CloudFormation leaves out, and how each is put."""
MADE = {"BucketName", "BucketEncryption"}
"""Those that it makes."""
NOT_PUT = {"LoggingConfiguration": "moto asks for a policy that names one prefix with the prefix of each bucket alone"}
"""Those that are looked at in the template only, each with the reason."""
