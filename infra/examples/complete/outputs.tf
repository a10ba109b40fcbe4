output "api_url" {
  description = "Where devices and operators find the API."
  value       = module.tidegate.api_url
}

output "cdn_url" {
  description = "Where images are downloaded from."
  value       = module.tidegate.cdn_url
}

output "cdn_key_secret_arn" {
  description = "The secret that the private key of CloudFront's signatures goes into."
  value       = module.tidegate.cdn_key_secret_arn
}

output "token_keys_secret_arn" {
  description = "The secret with the keys of device tokens."
  value       = module.tidegate.token_keys_secret_arn
}
