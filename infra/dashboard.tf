locals {
  # A search expression finds every product, also future ones.
  by_product = { for metric in ["Offered", "InFlight", "Proved", "Failed", "Reverted", "Lost", "LiveUpdates"] : metric =>
    "SEARCH('{${local.namespace},Product} MetricName=\"${metric}\"', 'Maximum', 60)"
  }

  rollout_widgets = [for metric, search in local.by_product : {
    title   = "${metric} by product"
    metrics = [[{ expression = search, label = "" }]]
  }]

  stack_widgets = [
    {
      title   = "Rollouts held"
      stat    = "Sum"
      metrics = [[local.namespace, "RolloutsHeld"], [{ expression = "SEARCH('{${local.namespace},Product} MetricName=\"RolloutsHeld\"', 'Sum', 60)", label = "" }]]
    },
    {
      title   = "Catalogs that could not be read"
      stat    = "Sum"
      metrics = [[local.namespace, "CatalogsUnreadable"], [{ expression = "SEARCH('{${local.namespace},Product} MetricName=\"CatalogsUnreadable\"', 'Sum', 60)", label = "" }]]
    },
    {
      title   = "Age of the newest record that count gets, in ms"
      stat    = "Maximum"
      metrics = [["AWS/Lambda", "IteratorAge", "FunctionName", module.function["count"].function_name]]
    },
    {
      title   = "Records that could not be counted"
      stat    = "Sum"
      metrics = [for metric in ["UnreadableRecords", "Drift", "SchemaAhead"] : [local.namespace, metric]]
    },
    {
      title   = "Duration of the sweeps in ms"
      stat    = "Maximum"
      metrics = [[local.namespace, "SweepMs"]]
    },
    {
      title   = "Sweeps"
      stat    = "Sum"
      metrics = [[local.namespace, "SweepFinished"], [local.namespace, "RecordsFailed"]]
    },
    {
      title   = "Requests"
      stat    = "Sum"
      metrics = [for metric in ["Count", "4xx", "5xx"] : ["AWS/ApiGateway", metric, "ApiId", aws_apigatewayv2_api.this.id]]
    },
    {
      title   = "Latency of the API, p99 in ms"
      stat    = "p99"
      metrics = [for metric in ["Latency", "IntegrationLatency"] : ["AWS/ApiGateway", metric, "ApiId", aws_apigatewayv2_api.this.id]]
    },
    {
      title   = "Duration of the functions, p99 in ms"
      stat    = "p99"
      metrics = [for function in module.function : ["AWS/Lambda", "Duration", "FunctionName", function.function_name]]
    },
    {
      title   = "Errors of the functions"
      stat    = "Sum"
      metrics = [for function in module.function : ["AWS/Lambda", "Errors", "FunctionName", function.function_name]]
    },
    {
      title   = "Concurrent environments"
      stat    = "Maximum"
      metrics = [for function in module.function : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", function.function_name]]
    },
    {
      title   = "Capacity of the table"
      stat    = "Sum"
      metrics = [for metric in ["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"] : ["AWS/DynamoDB", metric, "TableName", aws_dynamodb_table.this.name]]
    },
    {
      title   = "Throttled by the table"
      stat    = "Sum"
      metrics = [for metric in ["ReadThrottleEvents", "WriteThrottleEvents"] : ["AWS/DynamoDB", metric, "TableName", aws_dynamodb_table.this.name]]
    },
  ]

  widgets = concat(
    [for widget in local.rollout_widgets : jsonencode(widget)],
    [for widget in local.stack_widgets : jsonencode(widget)],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [for index, widget in local.widgets : {
      type   = "metric"
      x      = index % 3 * 8
      y      = floor(index / 3) * 6
      width  = 8
      height = 6
      properties = merge({ stat = "Maximum" }, jsondecode(widget), {
        region = local.region
        view   = "timeSeries"
        period = 60
      })
    }]
  })
}
