locals {
  # Our own metrics have one dimension, the product. No metric has a dimension per device.
  namespace = "Tidegate"

  # The read and write calls on the table. CloudWatch counts server errors per call.
  table_operations = ["BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem"]

  # The metric of a throttled index has the index's name.
  throttle_metrics = {
    reads        = { metric = "ReadThrottleEvents", dimensions = { TableName = aws_dynamodb_table.this.name } }
    writes       = { metric = "WriteThrottleEvents", dimensions = { TableName = aws_dynamodb_table.this.name } }
    index_reads  = { metric = "ReadThrottleEvents", dimensions = { TableName = aws_dynamodb_table.this.name, GlobalSecondaryIndexName = "versions" } }
    index_writes = { metric = "WriteThrottleEvents", dimensions = { TableName = aws_dynamodb_table.this.name, GlobalSecondaryIndexName = "versions" } }
  }

  # Each alarm begins when a sum per minute exceeds `most` in `of` of the last `last` minutes.
  count_alarms = merge(
    { for name, function in module.function : "${name}-errors" => {
      description = "${name} crashes, times out or cannot start. Its log group says why."
      namespace   = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = function.function_name }
      most        = 0, of = 3, last = 5
    } },
    { for name, function in module.function : "${name}-throttles" => {
      description = "${name} is refused environments: the account's quota or a reservation is used up."
      namespace   = "AWS/Lambda", metric = "Throttles", dimensions = { FunctionName = function.function_name }
      most        = 0, of = 3, last = 5
    } },
    {
      api-5xx = {
        description = "The HTTP API answers with server errors. Functions answer 503 when the table cannot be reached."
        namespace   = "AWS/ApiGateway", metric = "5xx", dimensions = { ApiId = aws_apigatewayv2_api.this.id }
        most        = 0, of = 3, last = 5
      }
      rollout-held = {
        description = "The health gate held a rollout. The product's audit log names the rollout and the evidence."
        namespace   = local.namespace, metric = "RolloutsHeld", dimensions = {}
        most        = 0, of = 1, last = 1
      }
      # One is enough: in a small fleet there may be no other check-in for hours.
      catalogs-unreadable = {
        description = "check could not read a catalog; its log names the catalog and the reason. It uses the previous catalog, or answers 503 if it has none. The sweep compiles a new one within a minute. If the alarm lasts, read the sweep's log."
        namespace   = local.namespace, metric = "CatalogsUnreadable", dimensions = {}
        most        = 0, of = 1, last = 1
      }
      sweep-records-failed = {
        description = "The sweep could not process some records. Its log names them."
        namespace   = local.namespace, metric = "RecordsFailed", dimensions = {}
        most        = 0, of = 3, last = 5
      }
      # In these two cases one is enough: a number of a rollout is wrong until somebody repairs it.
      unreadable-records = {
        description = "count could not read a record of the stream; its log names the item. Rollouts of that product get no more places until a repair."
        namespace   = local.namespace, metric = "UnreadableRecords", dimensions = {}
        most        = 0, of = 1, last = 1
      }
      drift = {
        description = "A recount found other numbers than count has. The log names the rollout and both numbers."
        namespace   = local.namespace, metric = "Drift", dimensions = {}
        most        = 0, of = 1, last = 1
      }
    },
  )

  # The age of the newest record in a batch that Lambda sends to count. A batch that fails is sent again and gets older.
  age_alarms = {
    # 5 minutes are sixty batching windows.
    count-late = {
      description = "count is more than 5 minutes behind the table. Rollouts get no more places until it has caught up; no device too many gets an update. Its log and its errors say why."
      most_ms     = 5 * 60 * 1000, of = 3, last = 5
    }
    # DynamoDB deletes records after 24 hours.
    count-losing = {
      description = "count is more than 20 hours behind the table, and after 24 hours DynamoDB deletes the records. Make count work again now; if records were lost, run tidegate repair --all."
      most_ms     = 20 * 3600 * 1000, of = 1, last = 1
    }
  }

  alarm_names = sort(concat(
    [for alarm in aws_cloudwatch_metric_alarm.count : alarm.alarm_name],
    [for alarm in aws_cloudwatch_metric_alarm.age : alarm.alarm_name],
    [
      aws_cloudwatch_metric_alarm.check_p99.alarm_name,
      aws_cloudwatch_metric_alarm.sweep_late.alarm_name,
      aws_cloudwatch_metric_alarm.sweep_slow.alarm_name,
      aws_cloudwatch_metric_alarm.dead_letters.alarm_name,
      aws_cloudwatch_metric_alarm.table_throttles.alarm_name,
      aws_cloudwatch_metric_alarm.table_errors.alarm_name,
    ],
  ))
}

resource "aws_cloudwatch_metric_alarm" "count" {
  for_each = local.count_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = "Sum"
  period              = 60
  datapoints_to_alarm = each.value.of
  evaluation_periods  = each.value.last
  threshold           = each.value.most
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "age" {
  for_each = local.age_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "AWS/Lambda"
  metric_name         = "IteratorAge"
  dimensions          = { FunctionName = module.function["count"].function_name }
  statistic           = "Maximum"
  period              = 60
  datapoints_to_alarm = each.value.of
  evaluation_periods  = each.value.last
  threshold           = each.value.most_ms
  comparison_operator = "GreaterThanThreshold"
  # Without changes of devices there are no batches.
  treat_missing_data = "notBreaching"
  alarm_actions      = var.alarm_actions
  ok_actions         = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "check_p99" {
  alarm_name          = "${var.name}-check-p99"
  alarm_description   = "1 % of check-ins take longer than ${var.check_p99_ms} ms."
  namespace           = "AWS/Lambda"
  metric_name         = "Duration"
  dimensions          = { FunctionName = module.function["check"].function_name }
  extended_statistic  = "p99"
  period              = 60
  datapoints_to_alarm = 3
  evaluation_periods  = 5
  threshold           = var.check_p99_ms
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions

  # With a few check-ins a minute, the slowest one is not a percentile.
  evaluate_low_sample_count_percentiles = "ignore"
}

resource "aws_cloudwatch_metric_alarm" "sweep_late" {
  alarm_name          = "${var.name}-sweep-late"
  alarm_description   = "No sweep has finished for ${var.sweep_late_minutes} minutes: expired claims keep their places."
  namespace           = local.namespace
  metric_name         = "SweepFinished"
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = var.sweep_late_minutes
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  # A sweep that does not run sends no data.
  treat_missing_data = "breaching"
  alarm_actions      = var.alarm_actions
  ok_actions         = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "sweep_slow" {
  alarm_name          = "${var.name}-sweep-slow"
  alarm_description   = "Sweeps take longer than the minute between them: silent devices and interrupted stops wait. The sweep's log names the product that takes the time."
  namespace           = local.namespace
  metric_name         = "SweepMs"
  statistic           = "Maximum"
  period              = 60
  datapoints_to_alarm = 3
  evaluation_periods  = 5
  threshold           = 60000
  comparison_operator = "GreaterThanThreshold"
  # The alarm sweep-late begins if there is no sweep at all.
  treat_missing_data = "notBreaching"
  alarm_actions      = var.alarm_actions
  ok_actions         = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "A sweep could not start, or failed twice. The messages in the queue hold the reason; purge the queue after reading them."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "table_throttles" {
  alarm_name          = "${var.name}-table-throttles"
  alarm_description   = "DynamoDB throttles the table or its index: one partition is too busy, or the account's quota is used up."
  datapoints_to_alarm = 3
  evaluation_periods  = 5
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions

  metric_query {
    id          = "throttles"
    expression  = "SUM(METRICS())"
    label       = "Throttled reads and writes"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.throttle_metrics

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/DynamoDB"
        metric_name = metric_query.value.metric
        dimensions  = metric_query.value.dimensions
        period      = 60
        stat        = "Sum"
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "table_errors" {
  alarm_name          = "${var.name}-table-errors"
  alarm_description   = "DynamoDB answers with server errors. Check-ins get 503 with Retry-After."
  datapoints_to_alarm = 3
  evaluation_periods  = 5
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions

  metric_query {
    id          = "errors"
    expression  = "SUM(METRICS())"
    label       = "Server errors of DynamoDB"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.table_operations

    content {
      id = lower(metric_query.value)

      metric {
        namespace   = "AWS/DynamoDB"
        metric_name = "SystemErrors"
        dimensions  = { TableName = aws_dynamodb_table.this.name, Operation = metric_query.value }
        period      = 60
        stat        = "Sum"
      }
    }
  }
}
