locals {
  has_truststore = try(var.domain.truststore_pem, null) != null
}

# The image bucket is private, versioned and TLS only. No function may read this prefix.
resource "aws_s3_object" "truststore" {
  count = local.has_truststore ? 1 : 0

  bucket       = aws_s3_bucket_versioning.images.bucket
  key          = "truststore/device-ca.pem"
  content      = var.domain.truststore_pem
  content_type = "application/x-pem-file"
}

resource "aws_apigatewayv2_domain_name" "this" {
  count = var.domain == null ? 0 : 1

  domain_name = var.domain.name

  domain_name_configuration {
    certificate_arn                        = var.domain.certificate_arn
    endpoint_type                          = "REGIONAL"
    security_policy                        = "TLS_1_2"
    ownership_verification_certificate_arn = var.domain.ownership_verification_certificate_arn
  }

  dynamic "mutual_tls_authentication" {
    for_each = aws_s3_object.truststore

    content {
      truststore_uri = "s3://${mutual_tls_authentication.value.bucket}/${mutual_tls_authentication.value.key}"
      # API Gateway reads the object once. It reads again only if the version changes.
      truststore_version = mutual_tls_authentication.value.version_id
    }
  }
}

resource "aws_apigatewayv2_api_mapping" "this" {
  count = var.domain == null ? 0 : 1

  api_id      = aws_apigatewayv2_api.this.id
  domain_name = aws_apigatewayv2_domain_name.this[0].id
  stage       = aws_apigatewayv2_stage.this.id
}
