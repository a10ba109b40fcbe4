resource "aws_dynamodb_table" "this" {
  name                        = var.name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.table_deletion_protection

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  attribute {
    name = "index_pk"
    type = "S"
  }

  attribute {
    name = "index_sk"
    type = "S"
  }

  # A sparse index: only reserved claims, and devices by version, have its keys.
  global_secondary_index {
    name            = "listing"
    hash_key        = "index_pk"
    range_key       = "index_sk"
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled = true
  }
}
