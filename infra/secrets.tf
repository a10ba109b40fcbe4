resource "aws_secretsmanager_secret" "token_keys" {
  name                    = "${var.name}/token-keys"
  description             = "The keys of device tokens as name:secret[,name:secret...]: the first signs, all verify."
  recovery_window_in_days = var.secret_recovery_days
}

ephemeral "aws_secretsmanager_random_password" "token_key" {
  count = var.generate_token_key ? 1 : 0

  # Letters and digits are base64url, and 64 of them are the 48 bytes that a key is made of.
  password_length     = 64
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret_version" "token_keys" {
  count = var.generate_token_key ? 1 : 0

  secret_id                = aws_secretsmanager_secret.token_keys.id
  secret_string_wo         = "k1:${ephemeral.aws_secretsmanager_random_password.token_key[0].random_password}"
  secret_string_wo_version = 1

  # Secrets Manager forgets versions without a label, and Terraform would take that for a secret to be
  # made again: with another key, on which no token verifies. The label of its own keeps the first one.
  version_stages = ["AWSCURRENT", "FIRST"]

  lifecycle {
    # A rotation moves AWSCURRENT to a version of the operator's.
    ignore_changes = [version_stages]
  }
}

# Only the container: the private key never passes through Terraform.
resource "aws_secretsmanager_secret" "cdn_key" {
  count = var.cdn == null ? 0 : 1

  name                    = "${var.name}/cdn-key"
  description             = "The private key in PEM that signs CloudFront URLs of images."
  recovery_window_in_days = var.secret_recovery_days
}
