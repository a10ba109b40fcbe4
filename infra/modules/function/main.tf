locals {
  # Terraform creates the log group with its retention. A function that could create it would make a group
  # that never expires, before the first apply or after the last destroy.
  log_statement = {
    Sid      = "Logs"
    Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    Resource = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }

  # X-Ray has no resource-level permissions.
  trace_statement = {
    Sid      = "Trace"
    Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
    Resource = ["*"]
  }

  statements = concat(var.statements, [local.log_statement], var.tracing ? [local.trace_statement] : [])

  policy = {
    Version = "2012-10-17"
    Statement = [for statement in local.statements : {
      for name, value in merge(statement, { Effect = "Allow" }) : name => value if value != null
    }]
  }

  # A metric line has no level and counts as INFO: a stricter filter would drop it.
  application_log_level = contains(["trace", "debug"], var.log_level) ? upper(var.log_level) : "INFO"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "this" {
  name = var.name

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "function"
  role   = aws_iam_role.this.id
  policy = jsonencode(local.policy)
}

resource "aws_lambda_function" "this" {
  function_name                  = var.name
  role                           = aws_iam_role.this.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.package
  source_code_hash               = fileexists(var.package) ? filebase64sha256(var.package) : null
  memory_size                    = var.memory_mb
  timeout                        = var.timeout_s
  reserved_concurrent_executions = var.reserved_concurrency
  publish                        = true

  environment {
    variables = var.environment
  }

  logging_config {
    log_format            = "JSON"
    log_group             = aws_cloudwatch_log_group.this.name
    application_log_level = local.application_log_level
    # INFO would add three lines per check-in, which would cost more than the check-in.
    system_log_level = "WARN"
  }

  tracing_config {
    mode = var.tracing ? "Active" : "PassThrough"
  }

  lifecycle {
    precondition {
      condition     = fileexists(var.package)
      error_message = "${var.package} does not exist: build the packages first, or set package_dir."
    }
  }

  depends_on = [aws_iam_role_policy.this]
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The version that the API and the schedule call."
  function_name    = aws_lambda_function.this.function_name
  function_version = aws_lambda_function.this.version
}
