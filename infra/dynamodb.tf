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
    name = "on"
    type = "S"
  }

  attribute {
    name = "id"
    type = "S"
  }

  # The devices by version. A sparse index: only items of devices have its keys.
  global_secondary_index {
    name            = "versions"
    hash_key        = "on"
    range_key       = "id"
    projection_type = "KEYS_ONLY"
  }

  # `count` compares the old image of a device with the new one.
  stream_enabled   = true
  stream_view_type = "NEW_AND_OLD_IMAGES"

  point_in_time_recovery {
    enabled = true
  }
}
