locals {
  table_arn    = aws_dynamodb_table.this.arn
  images_arn   = "${aws_s3_bucket.images.arn}/images/*"
  catalogs_arn = "${aws_s3_bucket.images.arn}/catalogs/*"
  fleet_arn    = "${aws_s3_bucket.images.arn}/fleet/*"
  secret_arns  = { token_keys = aws_secretsmanager_secret.token_keys.arn, catalog_key = aws_secretsmanager_secret.catalog_key.arn, cdn_key = one(aws_secretsmanager_secret.cdn_key[*].arn) }

  # What each function may do with which kinds of items: a list of keys for each list of actions. Each partition key
  # begins with its kind (crates/tidegate-store/src/dynamo/key.rs): c control group, d device, l list of devices by state, o outbox,
  # p product with its updates, q deferrals, r series, s shard, t tally, u due page, v verified image, x audit. A transaction needs the
  # actions of its items.
  table_access = {
    check = {
      Read   = { actions = ["GetItem", "Query"], keys = ["#products", "d#*", "p#*", "s#*"] }
      Update = { actions = ["UpdateItem"], keys = ["d#*", "q#*", "s#*"] }
    }
    report = {
      Read   = { actions = ["GetItem"], keys = ["d#*", "p#*"] }
      Update = { actions = ["UpdateItem"], keys = ["d#*"] }
    }
    # It learns about devices from the stream alone.
    count = {
      Read   = { actions = ["GetItem", "Query"], keys = ["p#*", "t#*"] }
      Update = { actions = ["UpdateItem"], keys = ["p#*", "s#*", "t#*"] }
      Put    = { actions = ["PutItem"], keys = ["l#*", "o#*", "u#*", "x#*"] }
      Delete = { actions = ["DeleteItem"], keys = ["l#*"] }
    }
    publish = {
      Read   = { actions = ["GetItem", "Query"], keys = ["#verify", "d#*", "l#*", "p#*", "q#*", "r#*", "s#*", "t#*", "u#*", "v#*", "x#*"] }
      Update = { actions = ["UpdateItem"], keys = ["#products", "d#*", "p#*", "s#*"] }
      Put    = { actions = ["PutItem"], keys = ["#verify", "d#*", "p#*", "x#*"] }
      Delete = { actions = ["DeleteItem"], keys = ["p#*"] }
    }
    sweep = {
      Read   = { actions = ["BatchGetItem", "GetItem", "Query"], keys = ["#products", "c#*", "d#*", "l#*", "p#*", "r#*", "s#*", "t#*", "u#*"] }
      Update = { actions = ["UpdateItem"], keys = ["d#*", "p#*", "s#*"] }
      Put    = { actions = ["PutItem"], keys = ["c#*", "r#*", "t#*", "u#*", "x#*"] }
      # Once a day it removes what is left of deleted updates.
      Delete = { actions = ["DeleteItem"], keys = ["c#*", "l#*", "q#*", "r#*", "s#*", "t#*", "u#*"] }
    }
    verify = {
      Read   = { actions = ["Query"], keys = ["#verify"] }
      Update = { actions = ["UpdateItem"], keys = ["#verify"] }
      Put    = { actions = ["PutItem"], keys = ["v#*"] }
      Delete = { actions = ["DeleteItem"], keys = ["#verify"] }
    }
  }

  # ForAllValues also holds for a request without leading keys. Only Scan and PartiQL are such requests: no function may
  # make them, except for the scans of the sweep.
  table_statements = { for function, access in local.table_access : function => [for name, access in access : {
    Sid       = name
    Action    = [for action in access.actions : "dynamodb:${action}"]
    Resource  = [local.table_arn]
    Condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = access.keys } }
  }] }

  # `check` may ask the sweep for a catalog. In a product's items it may touch only these attributes.
  ask_for_catalog_statement = {
    Sid      = "AskForCatalog"
    Action   = ["dynamodb:UpdateItem"]
    Resource = [local.table_arn]
    Condition = {
      "ForAllValues:StringLike" = {
        "dynamodb:LeadingKeys" = ["p#*"]
        # Each format of catalogs has its own.
        "dynamodb:Attributes" = ["catalog_name_*", "catalog_revision_*", "pk", "sk"]
      }
      "StringEqualsIfExists" = { "dynamodb:ReturnValues" = ["NONE"] }
    }
  }

  # The weekly recount and the daily fleet snapshot read every device.
  scan_statement = {
    Sid      = "Scan"
    Action   = ["dynamodb:Scan"]
    Resource = [local.table_arn]
  }

  index_statement = {
    Sid      = "Index"
    Action   = ["dynamodb:Query"]
    Resource = ["${local.table_arn}/index/versions"]
  }

  token_keys_statement = {
    Sid      = "TokenKeys"
    Action   = ["secretsmanager:GetSecretValue"]
    Resource = [local.secret_arns.token_keys]
  }

  # Those that compile catalogs and the one that reads them. Who has no key of catalogs makes none that is believed.
  catalog_key_statement = {
    Sid      = "CatalogKey"
    Action   = ["secretsmanager:GetSecretValue"]
    Resource = [local.secret_arns.catalog_key]
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
      Action   = ["s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
      Resource = [local.images_arn]
    },
    {
      Sid      = "Uploads"
      Action   = ["s3:ListBucketMultipartUploads"]
      Resource = [aws_s3_bucket.images.arn]
    },
    local.missing_objects_statement,
  ]

  # Images that no update names any more: their versions are listed, hidden, and removed later.
  tidy_statements = [
    {
      Sid      = "ListImages"
      Action   = ["s3:ListBucketVersions"]
      Resource = [aws_s3_bucket.images.arn]
    },
    {
      Sid      = "RemoveImages"
      Action   = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
      Resource = [local.images_arn]
    },
  ]

  read_images_statement = {
    Sid      = "ReadImages"
    Action   = ["s3:GetObject"]
    Resource = [local.images_arn]
  }

  # Without this action S3 answers 403 instead of 404 for an object that is not there yet: an image, or the first fleet
  # snapshot.
  missing_objects_statement = {
    Sid      = "MissingObjects"
    Action   = ["s3:ListBucket"]
    Resource = [aws_s3_bucket.images.arn]
  }

  fleet_statement = {
    Sid      = "FleetSnapshot"
    Action   = ["s3:GetObject", "s3:PutObject"]
    Resource = [local.fleet_arn]
  }

  # Heads name the published catalog, so readers need no list.
  catalogs_statement = {
    Sid      = "Catalogs"
    Action   = ["s3:GetObject"]
    Resource = [local.catalogs_arn]
  }

  # Only `publish` and `sweep` compile. They write a new catalog and delete the one before the last.
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

  catalog_environment = {
    TIDEGATE_CATALOG_KEY_SECRET   = local.secret_arns.catalog_key
    TIDEGATE_CATALOG_KEY_REVISION = tostring(var.catalog_key_revision)
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
      environment          = merge(local.store_environment, local.token_environment, local.catalog_environment, local.poll_environment, local.cdn_environment)
      statements           = concat(local.table_statements.check, [local.ask_for_catalog_statement, local.token_keys_statement, local.catalog_key_statement, local.catalogs_statement], local.download_statements)
    }
    report = {
      timeout_s            = 10
      memory_mb            = var.memory_mb.report
      reserved_concurrency = null
      environment          = merge(local.store_environment, local.token_environment)
      statements           = concat(local.table_statements.report, [local.token_keys_statement])
    }
    count = {
      # A full batch writes a few thousand items. Lambda sends nothing else of that stream shard meanwhile.
      timeout_s            = 120
      memory_mb            = var.memory_mb.count
      reserved_concurrency = null
      environment          = local.store_environment
      statements           = concat(local.table_statements.count, [local.stream_statement])
    }
    publish = {
      # API Gateway waits at most 30 seconds.
      timeout_s            = 29
      memory_mb            = var.memory_mb.publish
      reserved_concurrency = null
      environment          = merge(local.store_environment, local.token_environment, local.catalog_environment)
      statements           = concat(local.table_statements.publish, [local.index_statement, local.token_keys_statement, local.catalog_key_statement, local.compile_statement], local.upload_statements)
    }
    sweep = {
      timeout_s = 300
      memory_mb = var.memory_mb.sweep
      # Not 1. Two sweeps at once do no harm, a reservation would make a sweep wait for one that hangs,
      # and a new account with a quota of 10 may reserve nothing.
      reserved_concurrency = null
      environment          = merge(local.store_environment, local.catalog_environment)
      statements           = concat(local.table_statements.sweep, [local.scan_statement, local.catalog_key_statement, local.compile_statement, local.fleet_statement, local.missing_objects_statement, local.dead_letters_statement], local.tidy_statements)
    }
    verify = {
      # Lambda gives no call more.
      timeout_s            = 900
      memory_mb            = var.memory_mb.verify
      reserved_concurrency = null
      environment          = local.store_environment
      statements           = concat(local.table_statements.verify, [local.read_images_statement, local.missing_objects_statement])
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
