# An existing table with its stream. Terraform reads the stream's ARN; nothing is typed twice.

provider "aws" {
  region = "eu-west-1"
}

data "aws_dynamodb_table" "cars" {
  name = "cars"
}

module "lakebound_cars" {
  source   = "../"
  name     = "lakebound-cars"
  template = "${path.module}/lakebound-template.yaml"
  bucket   = "my-artifacts"

  parameters = {
    TableName        = data.aws_dynamodb_table.cars.name
    TableStreamArn   = data.aws_dynamodb_table.cars.stream_arn
    SilverLagMinutes = "30"
  }
}

output "merge_source" {
  description = "What to give the merge job as --source."
  value       = module.lakebound_cars.outputs["MergeSource"]
}
