locals {
  http_functions = toset([for route in values(local.routes) : route.function])
}

resource "aws_apigatewayv2_api" "this" {
  name          = var.name
  description   = "Devices check in and report; operators publish updates and control rollouts."
  protocol_type = "HTTP"

  # Only the domain requires a client certificate; callers could avoid it through the API's own address.
  disable_execute_api_endpoint = var.domain != null
}

resource "aws_apigatewayv2_integration" "function" {
  for_each = local.http_functions

  api_id                 = aws_apigatewayv2_api.this.id
  integration_type       = "AWS_PROXY"
  integration_uri        = module.function[each.key].invoke_arn
  payload_format_version = "2.0"
  # One second more than the function's timeout: Lambda ends a slow function first and logs it.
  timeout_milliseconds = (local.functions[each.key].timeout_s + 1) * 1000
}

resource "aws_apigatewayv2_route" "this" {
  for_each = local.routes

  api_id             = aws_apigatewayv2_api.this.id
  route_key          = each.key
  target             = "integrations/${aws_apigatewayv2_integration.function[each.value.function].id}"
  authorization_type = each.value.authorization
}

resource "aws_cloudwatch_log_group" "access" {
  count = var.access_log ? 1 : 0

  name              = "/aws/apigateway/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_apigatewayv2_stage" "this" {
  api_id      = aws_apigatewayv2_api.this.id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    throttling_rate_limit  = var.throttle_rate
    throttling_burst_limit = var.throttle_burst
    # Metrics per route would be 26 times as many, and each one costs money.
    detailed_metrics_enabled = false
  }

  dynamic "access_log_settings" {
    for_each = aws_cloudwatch_log_group.access

    content {
      destination_arn = access_log_settings.value.arn
      format = jsonencode({
        request_id = "$context.requestId"
        route      = "$context.routeKey"
        status     = "$context.status"
        latency_ms = "$context.responseLatency"
        source_ip  = "$context.identity.sourceIp"
        caller     = "$context.identity.caller"
        client     = "$context.identity.clientCert.subjectDN"
        error      = "$context.error.message"
      })
    }
  }
}

resource "aws_lambda_permission" "api" {
  for_each = local.http_functions

  statement_id  = "http-api"
  action        = "lambda:InvokeFunction"
  function_name = module.function[each.key].function_name
  qualifier     = module.function[each.key].alias_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/*/*"
}
