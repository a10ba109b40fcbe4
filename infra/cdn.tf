locals {
  cdn_host = one([for distribution in aws_cloudfront_distribution.images : try(var.cdn.domain.name, null) != null ? var.cdn.domain.name : distribution.domain_name])
  cdn_url  = local.cdn_host == null ? null : "https://${local.cdn_host}"
}

resource "aws_cloudfront_public_key" "images" {
  count = var.cdn == null ? 0 : 1

  name        = "${var.name}-images"
  encoded_key = var.cdn.public_key_pem
}

resource "aws_cloudfront_key_group" "images" {
  count = var.cdn == null ? 0 : 1

  name  = "${var.name}-images"
  items = [aws_cloudfront_public_key.images[0].id]
}

resource "aws_cloudfront_origin_access_control" "images" {
  count = var.cdn == null ? 0 : 1

  name                              = "${var.name}-images"
  description                       = "Reads the image bucket for the distribution."
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_cache_policy" "images" {
  count = var.cdn == null ? 0 : 1

  name        = "${var.name}-images"
  comment     = "An image is kept by its digest and its version, and never changes."
  min_ttl     = 0
  default_ttl = 7 * 24 * 3600
  max_ttl     = 365 * 24 * 3600

  parameters_in_cache_key_and_forwarded_to_origin {
    # No compression: a device compares the digest of the uploaded bytes.
    enable_accept_encoding_brotli = false
    enable_accept_encoding_gzip   = false

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    # The request to S3 must name the version that was verified.
    query_strings_config {
      query_string_behavior = "whitelist"

      query_strings {
        items = ["versionId"]
      }
    }
  }
}

resource "aws_cloudfront_distribution" "images" {
  count = var.cdn == null ? 0 : 1

  enabled         = true
  comment         = "${var.name}: images"
  aliases         = var.cdn.domain == null ? [] : [var.cdn.domain.name]
  is_ipv6_enabled = true
  http_version    = "http2and3"
  price_class     = var.cdn.price_class
  web_acl_id      = var.cdn.web_acl_arn

  origin {
    origin_id                = "images"
    domain_name              = aws_s3_bucket.images.bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.images[0].id
  }

  default_cache_behavior {
    target_origin_id       = "images"
    viewer_protocol_policy = "https-only"
    allowed_methods        = ["GET", "HEAD"]
    cached_methods         = ["GET", "HEAD"]
    compress               = false
    cache_policy_id        = aws_cloudfront_cache_policy.images[0].id
    trusted_key_groups     = [aws_cloudfront_key_group.images[0].id]
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = var.cdn.domain == null
    acm_certificate_arn            = try(var.cdn.domain.certificate_arn, null)
    ssl_support_method             = var.cdn.domain == null ? null : "sni-only"
    # CloudFront always uses TLSv1 with its own certificate.
    minimum_protocol_version = var.cdn.domain == null ? "TLSv1" : "TLSv1.2_2021"
  }
}
