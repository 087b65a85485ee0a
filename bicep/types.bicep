// What the template's lists are made of.

@export()
@description('The share of one revision, as the service writes it: of a named one, or of whichever is the latest.')
type weight = {
  revisionName: string?
  latestRevision: bool?
  label: string?
  @minValue(0)
  @maxValue(100)
  weight: int
}

@export()
@description('A setting of the relay.')
@sealed()
type setting = {
  @minLength(1)
  name: string
  value: string
}
