"""A server of S3 in memory that checks signatures: `s3_server.py PORT`, or, as it knows none in addresses,
does not: `s3_server.py PORT open`.

Prints an access key and its secret, which may do everything with the bucket `canopy-books`.
"""

import json
import os
import sys
import threading

# So many calls come before the first whose signature is checked: those that are made here.
if sys.argv[2:] != ["open"]:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3
from moto.server import ThreadedMotoServer

port = int(sys.argv[1])
ThreadedMotoServer("127.0.0.1", port, verbose=False).start()


def client(service):
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
    )


iam = client("iam")
iam.create_user(UserName="canopy")
statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
iam.put_user_policy(UserName="canopy", PolicyName="all", PolicyDocument=policy)
key = iam.create_access_key(UserName="canopy")["AccessKey"]
client("s3").create_bucket(Bucket="canopy-books")
print(key["AccessKeyId"], key["SecretAccessKey"], flush=True)
threading.Event().wait()
