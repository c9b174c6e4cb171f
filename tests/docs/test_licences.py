"""Everything that a deployment carries has its licence listed, and none that we could not ship."""

from docs import licences


def test_every_package_that_is_carried_is_listed_with_a_licence_we_may_ship() -> None:
    assert licences.faults(licences.PAGE.read_text(), licences.carried()) == []


def test_a_missing_package_and_a_licence_we_may_not_ship_are_named() -> None:
    text = "| package | version | licence |\n|---|---|---|\n| readline | 8.2 | GPL-3.0 |\n"
    assert licences.faults(text, {"readline", "boto3"}) == [
        "boto3 is not listed: run make licences",
        "readline: GPL-3.0",
    ]
