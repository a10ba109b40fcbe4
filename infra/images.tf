locals {
  bucket_name = coalesce(var.bucket_name, "${var.name}-images-${local.account_id}-${local.region}")

  # URL_TTL_S and UPLOAD_TTL_S of crates/tidegate-store/src/images.rs; test.sh compares them.
  oldest_download_s = 900
  oldest_upload_s   = 3600

  image_statements = [
    {
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = ["s3:*"]
      Resource  = [aws_s3_bucket.images.arn, "${aws_s3_bucket.images.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    },
    # With stolen credentials of a function, URLs could be signed that last as long as the credentials.
    {
      Sid       = "NoOldDownloads"
      Effect    = "Deny"
      Principal = "*"
      Action    = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource  = ["${aws_s3_bucket.images.arn}/images/*"]
      Condition = { NumericGreaterThan = { "s3:signatureAge" = tostring(local.oldest_download_s * 1000) } }
    },
    {
      Sid       = "NoOldUploads"
      Effect    = "Deny"
      Principal = "*"
      Action    = ["s3:PutObject"]
      Resource  = ["${aws_s3_bucket.images.arn}/images/*"]
      Condition = { NumericGreaterThan = { "s3:signatureAge" = tostring(local.oldest_upload_s * 1000) } }
    },
  ]

  cdn_statements = [for distribution in aws_cloudfront_distribution.images : {
    Sid       = "Cdn"
    Effect    = "Allow"
    Principal = { Service = "cloudfront.amazonaws.com" }
    Action    = ["s3:GetObject", "s3:GetObjectVersion"]
    Resource  = ["${aws_s3_bucket.images.arn}/images/*"]
    Condition = { StringEquals = { "aws:SourceArn" = distribution.arn } }
  }]
}

resource "aws_s3_bucket" "images" {
  bucket = local.bucket_name

  # Devices hold URLs into this bucket, and another account can take the name of a deleted bucket.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_ownership_controls" "images" {
  bucket = aws_s3_bucket.images.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "images" {
  bucket                  = aws_s3_bucket.images.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "images" {
  bucket = aws_s3_bucket.images.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "images" {
  bucket = aws_s3_bucket.images.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# Noncurrent versions of images never expire. A live update names the version that was verified at its
# activation. A later upload of the same bytes makes that version noncurrent.
resource "aws_s3_bucket_lifecycle_configuration" "images" {
  bucket = aws_s3_bucket.images.id

  rule {
    id     = "abandoned-uploads"
    status = "Enabled"

    filter {}

    # An interrupted upload goes on for this long.
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # Functions read catalogs without a version, so noncurrent versions of catalogs are useless.
  rule {
    id     = "old-catalogs"
    status = "Enabled"

    filter {
      prefix = "catalogs/"
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  # The sweep replaces the state of the fleet snapshot.
  rule {
    id     = "old-fleet-snapshots"
    status = "Enabled"

    filter {
      prefix = "fleet/"
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.images]
}

resource "aws_s3_bucket_policy" "images" {
  bucket = aws_s3_bucket.images.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(local.image_statements, local.cdn_statements)
  })

  depends_on = [aws_s3_bucket_public_access_block.images]
}
