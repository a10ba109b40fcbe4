locals {
  # Lambda sends failed events with the function's own role.
  dead_letters_statement = {
    Sid      = "DeadLetters"
    Action   = ["sqs:SendMessage"]
    Resource = [aws_sqs_queue.dead_letters.arn]
  }
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-dead-letters"
  message_retention_seconds = 14 * 24 * 3600
  sqs_managed_sse_enabled   = true
}

resource "aws_iam_role" "schedule" {
  name = "${var.name}-schedule"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "schedule" {
  name = "schedule"
  role = aws_iam_role.schedule.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "SweepAndVerify"
        Effect   = "Allow"
        Action   = ["lambda:InvokeFunction"]
        Resource = [module.function["sweep"].alias_arn, module.function["verify"].alias_arn]
      },
      merge(local.dead_letters_statement, { Effect = "Allow" }),
    ]
  })
}

resource "aws_scheduler_schedule" "sweep" {
  name                = "${var.name}-sweep"
  description         = "Ends due claims and rollouts, and finishes interrupted changes."
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.function["sweep"].alias_arn
    role_arn = aws_iam_role.schedule.arn

    # The next sweep does the work of a missed one.
    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 2
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letters.arn
    }
  }

  depends_on = [aws_iam_role_policy.schedule]
}

resource "aws_scheduler_schedule" "verify" {
  name                = "${var.name}-verify"
  description         = "Reads large images that were uploaded."
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.function["verify"].alias_arn
    role_arn = aws_iam_role.schedule.arn

    # The next start does the work of a missed one.
    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 2
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letters.arn
    }
  }

  depends_on = [aws_iam_role_policy.schedule]
}

# A start that fails is not repeated: the next one takes the image again, when the time of the first is over.
resource "aws_lambda_function_event_invoke_config" "verify" {
  function_name = module.function["verify"].function_name
  qualifier     = module.function["verify"].alias_name

  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 60
}

# Once a week, all devices are compared with the counts that follow the stream.
resource "aws_scheduler_schedule" "recount" {
  name                = "${var.name}-recount"
  description         = "Compares the counts with the devices."
  schedule_expression = "rate(7 days)"

  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 60
  }

  target {
    arn      = module.function["sweep"].alias_arn
    role_arn = aws_iam_role.schedule.arn
    input    = jsonencode({ recount = true })

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 2
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letters.arn
    }
  }

  depends_on = [aws_iam_role_policy.schedule]
}

# The scheduler itself queues sweeps that could not start. This queues sweeps that started and failed.
resource "aws_lambda_function_event_invoke_config" "sweep" {
  function_name = module.function["sweep"].function_name
  qualifier     = module.function["sweep"].alias_name

  # One retry: a single failed call of a store needs no alarm.
  maximum_retry_attempts       = 1
  maximum_event_age_in_seconds = 300

  destination_config {
    on_failure {
      destination = aws_sqs_queue.dead_letters.arn
    }
  }
}
