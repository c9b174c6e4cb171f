variable "template" {
  description = "Packaged template: lakebound-template-VERSION.yaml of a release, or of make package."
  type        = string

  validation {
    condition     = can(yamldecode(file(var.template)).Parameters.TableName)
    error_message = "This file is no packaged template. Make one with make package, or take that of a release."
  }
}

variable "bucket" {
  description = "Bucket that the template is put into, for it is too large for a request. It may be the one with the code."
  type        = string
}

variable "name" {
  description = "Name of the stack: what lakebound takes as --stack."
  type        = string
}

variable "parameters" {
  description = "Parameters of the template (docs/SETTINGS.md); those that are not given keep their defaults."
  type        = map(string)

  validation {
    condition     = contains(keys(var.parameters), "TableName")
    error_message = "TableName is missing."
  }

  validation {
    # CloudFormation would refuse the whole change with the same word, minutes later.
    condition     = length(setsubtract(keys(var.parameters), keys(try(yamldecode(file(var.template)).Parameters, {})))) == 0
    error_message = "The template has no parameter ${join(", ", setsubtract(keys(var.parameters), keys(try(yamldecode(file(var.template)).Parameters, {}))))}."
  }
}

variable "tags" {
  description = "Tags of the stack, which CloudFormation gives to all that it makes."
  type        = map(string)
  default     = {}
}
