output "bucket_name" {
  description = "The bucket for -backend-config."
  value       = aws_s3_bucket.state.bucket
}
