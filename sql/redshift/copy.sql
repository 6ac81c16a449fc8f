COPY {relation}
FROM %(manifest)s
IAM_ROLE {role}
FORMAT AS PARQUET
MANIFEST
