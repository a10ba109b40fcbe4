locals {
  table_arn    = aws_dynamodb_table.this.arn
  images_arn   = "${aws_s3_bucket.images.arn}/images/*"
  catalogs_arn = "${aws_s3_bucket.images.arn}/catalogs/*"
  secret_arns  = { token_keys = aws_secretsmanager_secret.token_keys.arn, cdn_key = one(aws_secretsmanager_secret.cdn_key[*].arn) }

  # All actions that crates/tidegate-store needs. They are the same four for every function.
  # dynamodb:LeadingKeys cannot separate the functions: every partition key begins with its product.
  table_statement = {
    Sid      = "Table"
    Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
    Resource = [local.table_arn]
  }

  index_statement = {
    Sid      = "Index"
    Action   = ["dynamodb:Query"]
    Resource = ["${local.table_arn}/index/listing"]
  }

  token_keys_statement = {
    Sid      = "TokenKeys"
    Action   = ["secretsmanager:GetSecretValue"]
    Resource = [local.secret_arns.token_keys]
  }

  # With a CDN, check signs no URLs of S3.
  download_statements = var.cdn == null ? [{
    Sid      = "SignDownloads"
    Action   = ["s3:GetObjectVersion"]
    Resource = [local.images_arn]
    }] : [{
    Sid      = "CdnKey"
    Action   = ["secretsmanager:GetSecretValue"]
    Resource = [local.secret_arns.cdn_key]
  }]

  upload_statements = [
    {
      Sid      = "Images"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = [local.images_arn]
    },
    # Without this action S3 answers 403 instead of 404 for an image that is not uploaded yet.
    {
      Sid      = "MissingImages"
      Action   = ["s3:ListBucket"]
      Resource = [aws_s3_bucket.images.arn]
    },
  ]

  # Heads name the published catalog, so readers need no list.
  catalogs_statement = {
    Sid      = "Catalogs"
    Action   = ["s3:GetObject"]
    Resource = [local.catalogs_arn]
  }

  # A function that changes an update writes a new catalog and deletes the one before the last.
  compile_statement = {
    Sid      = "CompileCatalogs"
    Action   = ["s3:DeleteObject", "s3:PutObject"]
    Resource = [local.catalogs_arn]
  }

  store_environment = {
    TIDEGATE_TABLE  = aws_dynamodb_table.this.name
    TIDEGATE_BUCKET = aws_s3_bucket.images.bucket
    TIDEGATE_LOG    = var.log_level
  }

  token_environment = {
    TIDEGATE_TOKEN_KEYS_SECRET   = local.secret_arns.token_keys
    TIDEGATE_TOKEN_KEYS_REVISION = tostring(var.token_keys_revision)
  }

  poll_environment = var.longest_poll_s == 0 ? {} : {
    TIDEGATE_LONGEST_POLL_S = tostring(var.longest_poll_s)
  }

  trust_environment = var.ca_bundle == null ? {} : {
    AWS_CA_BUNDLE = var.ca_bundle
  }

  cdn_environment = var.cdn == null ? {} : {
    TIDEGATE_CDN_URL        = local.cdn_url
    TIDEGATE_CDN_KEY_ID     = one(aws_cloudfront_public_key.images[*].id)
    TIDEGATE_CDN_KEY_SECRET = local.secret_arns.cdn_key
  }

  functions = {
    check = {
      # A long poll lasts this long.
      timeout_s            = 10 + var.longest_poll_s
      memory_mb            = var.memory_mb.check
      reserved_concurrency = var.check_reserved_concurrency
      environment          = merge(local.store_environment, local.token_environment, local.poll_environment, local.cdn_environment)
      statements           = concat([local.table_statement, local.token_keys_statement, local.catalogs_statement], local.download_statements)
    }
    report = {
      timeout_s            = 10
      memory_mb            = var.memory_mb.report
      reserved_concurrency = null
      environment          = merge(local.store_environment, local.token_environment)
      statements           = [local.table_statement, local.token_keys_statement, local.compile_statement]
    }
    publish = {
      # API Gateway waits at most 30 seconds.
      timeout_s            = 29
      memory_mb            = var.memory_mb.publish
      reserved_concurrency = null
      environment          = merge(local.store_environment, local.token_environment)
      statements           = concat([local.table_statement, local.index_statement, local.token_keys_statement, local.compile_statement], local.upload_statements)
    }
    sweep = {
      timeout_s = 300
      memory_mb = var.memory_mb.sweep
      # Not 1. Two sweeps at once do no harm, a reservation would make a sweep wait for one that hangs,
      # and a new account with a quota of 10 may reserve nothing.
      reserved_concurrency = null
      environment          = local.store_environment
      statements           = [local.table_statement, local.index_statement, local.compile_statement, local.dead_letters_statement]
    }
  }
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name                 = "${var.name}-${each.key}"
  package              = "${local.package_dir}/${each.key}/bootstrap.zip"
  architecture         = var.architecture
  memory_mb            = each.value.memory_mb
  timeout_s            = each.value.timeout_s
  reserved_concurrency = each.value.reserved_concurrency
  environment          = merge(each.value.environment, local.trust_environment)
  statements           = each.value.statements
  log_level            = var.log_level
  log_retention_days   = var.log_retention_days
  tracing              = var.tracing
}
