provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Project   = "tidegate"
      ManagedBy = "terraform"
    }
  }
}

resource "aws_sns_topic" "alarms" {
  name              = "tidegate-alarms"
  kms_master_key_id = "alias/aws/sns"
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each = var.alarm_emails

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

module "tidegate" {
  source = "../.."

  memory_mb                  = { check = 512, publish = 2048 }
  check_reserved_concurrency = 200
  log_retention_days         = 90
  throttle_rate              = 2000
  throttle_burst             = 4000
  check_p99_ms               = 250
  alarm_actions              = [aws_sns_topic.alarms.arn]

  domain = {
    name            = var.api_domain
    certificate_arn = var.api_certificate_arn
    truststore_pem  = file(var.device_ca_path)
  }

  cdn = {
    public_key_pem = file(var.cdn_public_key_path)
    price_class    = "PriceClass_100"

    domain = {
      name            = var.images_domain
      certificate_arn = var.images_certificate_arn
    }
  }
}

resource "aws_route53_record" "api" {
  for_each = toset(["A", "AAAA"])

  zone_id = var.zone_id
  name    = var.api_domain
  type    = each.value

  alias {
    name                   = module.tidegate.domain_target.host_name
    zone_id                = module.tidegate.domain_target.hosted_zone_id
    evaluate_target_health = false
  }
}

resource "aws_route53_record" "images" {
  for_each = toset(["A", "AAAA"])

  zone_id = var.zone_id
  name    = var.images_domain
  type    = each.value

  alias {
    name = module.tidegate.cdn_domain_name
    # CloudFront's zone, the same for every distribution.
    zone_id                = "Z2FDTNDATAQYW2"
    evaluate_target_health = false
  }
}

resource "aws_iam_role_policy_attachment" "operator" {
  for_each = var.operator_roles

  role       = each.key
  policy_arn = module.tidegate.operator_policies[each.value].arn
}
