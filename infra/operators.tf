locals {
  invoke_arn = "${aws_apigatewayv2_api.this.execution_arn}/${aws_apigatewayv2_stage.this.name}"

  # In these ARNs a * matches slashes too: "GET/v1/products/*" is every GET of the operator API.
  view_calls = ["GET/v1/products/*", "GET/otao/api/v1/applications/*"]

  # Stopping is always safe, so a publisher may also stop a rollout, but not start one.
  stop_calls = [
    "POST/v1/products/*/updates/*/pause",
    "POST/v1/products/*/updates/*/abort",
    "POST/v1/products/*/stop",
  ]

  operator_calls = {
    viewer = local.view_calls

    publisher = concat(local.view_calls, local.stop_calls, [
      "POST/v1/products/*/updates",
      "PATCH/v1/products/*/updates/*",
      "POST/v1/products/*/updates/*/upload",
      "DELETE/v1/products/*/updates/*",
      "POST/v1/products/*/updates/*/retry",
      "POST/v1/products/*/devices/*/retry",
      "PUT/v1/products/*/devices/*/tags/*",
      "DELETE/v1/products/*/devices/*/tags/*",
      "POST/otao/api/v1/applications/*/software",
    ])

    approver = concat(local.view_calls, local.stop_calls, [
      "POST/v1/products/*/updates/*/activate",
      "POST/v1/products/*/updates/*/resume",
      "POST/v1/products/*/updates/*/complete",
      "POST/v1/products/*/updates/*/withdraw",
      "POST/v1/products/*/updates/*/reopen",
      "POST/v1/products/*/updates/*/rollback",
      "POST/v1/products/*/updates/*/advance",
      "POST/v1/products/*/resume-stopped",
      "PUT/v1/products/*/token",
      "DELETE/v1/products/*/token",
      "POST/v1/products/*/updates/*/retry",
      "POST/v1/products/*/updates/*/void",
      "PUT/v1/products/*/updates/*/assigned",
      "DELETE/v1/products/*/updates/*/assigned",
      "POST/v1/products/*/devices/*/retry",
      "POST/v1/products/*/devices/*/hold",
      "POST/v1/products/*/devices/*/pin",
      "POST/v1/products/*/devices/*/release",
      "POST/v1/products/*/devices/*/forget",
      "PUT/v1/products/*/devices/*/tags/*",
      "DELETE/v1/products/*/devices/*/tags/*",
      "DELETE/v1/products/*/devices/*/token",
      "DELETE/v1/products/*/devices/*",
      # A product's settings of device authentication; IAM cannot separate them from an update's settings.
      "PATCH/v1/products/*",
      # The field rolloutStrategy of a software activates and pauses it.
      "PUT/otao/api/v1/applications/*/software/*",
      "DELETE/otao/api/v1/applications/*/software/*",
    ])
  }

  operator_descriptions = {
    viewer    = "Looks at updates, devices, metrics and the audit log."
    publisher = "Viewer who creates drafts, uploads their files, deletes drafts and what was withdrawn, edits rollouts, tags devices, gives them another try, and may pause, abort and stop."
    approver  = "Viewer who activates, steers, reopens and rolls back, orders single devices, issues tokens, and sets what a product allows."
  }
}

resource "aws_iam_policy" "operator" {
  for_each = local.operator_calls

  name        = "${var.name}-${each.key}"
  description = local.operator_descriptions[each.key]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "Calls"
      Effect   = "Allow"
      Action   = ["execute-api:Invoke"]
      Resource = [for call in each.value : "${local.invoke_arn}/${call}"]
    }]
  })
}
