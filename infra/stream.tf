# The table's stream and `count`, which reads it. All numbers of a rollout come from here.

locals {
  # Lambda reads the stream with the function's own role. These are the actions and the resource of AWS's own example.
  stream_statement = {
    Sid      = "Stream"
    Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"]
    Resource = ["${local.table_arn}/stream/*"]
  }
}

resource "aws_lambda_event_source_mapping" "count" {
  event_source_arn  = aws_dynamodb_table.this.stream_arn
  function_name     = module.function["count"].alias_arn
  starting_position = "TRIM_HORIZON"

  # A batch is sent when it holds 2,000 records or 6 MB, or is 5 seconds old. Lambda allows 10,000 records.
  batch_size                         = 2000
  maximum_batching_window_in_seconds = 5

  # A tally has one writer, and a window of time does not allow another factor.
  parallelization_factor = 1

  # Only events of a window name their stream shard, which is the key of the tallies. `count` keeps no state in the
  # window, so the longest one is the best: Lambda invokes the function once more at the end of each.
  tumbling_window_in_seconds = 900

  # A failed batch is sent again, unchanged, until DynamoDB deletes its records after 24 hours. The alarm count-losing
  # begins before that. No record is skipped: `count` itself passes over records that it cannot read.
  maximum_retry_attempts         = -1
  maximum_record_age_in_seconds  = -1
  bisect_batch_on_function_error = false

  # Every kind of change of a device or an update counts, so there is no filter on `eventName`. AWS documents filters of DynamoDB
  # only for the field `dynamodb`.
  filter_criteria {
    filter {
      pattern = jsonencode({ dynamodb = { Keys = { sk = { S = ["device", { prefix = "update#" }] } } } })
    }
  }
}
