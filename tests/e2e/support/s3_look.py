"""Tells what an S3 server has: `s3_look.py PORT KEY SECRET names|contents`."""

import sys

import boto3

port, key, secret, what = sys.argv[1:]
client = boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{port}",
    region_name="us-east-1",
    aws_access_key_id=key,
    aws_secret_access_key=secret,
)
for page in client.get_paginator("list_objects_v2").paginate(Bucket="canopy-books"):
    for found in page.get("Contents", []):
        if what == "names":
            print(found["Key"])
        else:
            body = client.get_object(Bucket="canopy-books", Key=found["Key"])["Body"]
            sys.stdout.buffer.write(body.read())
