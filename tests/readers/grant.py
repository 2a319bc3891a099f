"""Makes a user of the S3 server at AWS_ENDPOINT_URL who has the rights of one policy, and no others.

Usage: grant.py USER SECRET POLICY, with the keys of the server's administrator in the environment.
"""

import json
import os
import sys

from minio import MinioAdmin
from minio.credentials import EnvAWSProvider


def main(user, secret, policy):
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    admin = MinioAdmin(endpoint=endpoint, credentials=EnvAWSProvider(), secure=False)
    admin.user_add(user, secret)
    admin.policy_add(user, policy=json.loads(policy))
    admin.attach_policy([user], user=user)


if __name__ == "__main__":
    main(*sys.argv[1:])
