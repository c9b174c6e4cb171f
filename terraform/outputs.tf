output "stack_name" {
  description = "What lakebound takes as --stack."
  value       = aws_cloudformation_stack.lakebound.name
}

output "outputs" {
  description = "The template's outputs: BucketName, MergeSource, BufferQueueUrl and the rest."
  value       = aws_cloudformation_stack.lakebound.outputs
}
