resource "aws_secretsmanager_secret" "token_keys" {
  name                    = "${var.name}/token-keys"
  description             = "The keys of device tokens as name:secret[,name:secret...]: the first signs, all verify."
  recovery_window_in_days = var.secret_recovery_days
}

ephemeral "aws_secretsmanager_random_password" "token_key" {
  count = var.generate_token_key ? 1 : 0

  # Letters and digits are valid base64url; 64 of them are the 48 bytes of a key.
  password_length     = 64
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret_version" "token_keys" {
  count = var.generate_token_key ? 1 : 0

  secret_id                = aws_secretsmanager_secret.token_keys.id
  secret_string_wo         = "k1:${ephemeral.aws_secretsmanager_random_password.token_key[0].random_password}"
  secret_string_wo_version = 1

  # Secrets Manager deletes versions without a label. Terraform would then write a new key, and no token
  # would verify. This label keeps the first version.
  version_stages = ["AWSCURRENT", "FIRST"]

  lifecycle {
    # A rotation moves AWSCURRENT to another version.
    ignore_changes = [version_stages]
  }
}

# Whoever compiles catalogs seals them with this key, and check believes no other.
resource "aws_secretsmanager_secret" "catalog_key" {
  name                    = "${var.name}/catalog-key"
  description             = "The key of catalogs as secret[,secret...]: the first seals, all verify."
  recovery_window_in_days = var.secret_recovery_days
}

ephemeral "aws_secretsmanager_random_password" "catalog_key" {
  count = var.generate_catalog_key ? 1 : 0

  password_length     = 64
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret_version" "catalog_key" {
  count = var.generate_catalog_key ? 1 : 0

  secret_id                = aws_secretsmanager_secret.catalog_key.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.catalog_key[0].random_password
  secret_string_wo_version = 1

  # As above.
  version_stages = ["AWSCURRENT", "FIRST"]

  lifecycle {
    ignore_changes = [version_stages]
  }
}

# An empty secret: the private key never passes through Terraform.
resource "aws_secretsmanager_secret" "cdn_key" {
  count = var.cdn == null ? 0 : 1

  name                    = "${var.name}/cdn-key"
  description             = "ECDSA P-256 private key in PEM, PKCS #8, that signs CloudFront URLs of images."
  recovery_window_in_days = var.secret_recovery_days
}
