# The packaged template as a stack. The module adds nothing to it: what a stack of it is, template.yaml alone says.

data "aws_s3_bucket" "template" {
  bucket = var.bucket
}

resource "aws_s3_object" "template" {
  bucket = var.bucket
  # The digest is in the key, so that another template is another address: CloudFormation compares only that.
  key    = "lakebound/${filesha256(var.template)}.yaml"
  source = var.template
}

resource "aws_cloudformation_stack" "lakebound" {
  name         = var.name
  template_url = "https://${data.aws_s3_bucket.template.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  parameters   = var.parameters
  tags         = var.tags
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
}
