"""What is said about a judged curve: artefact of a metric, runs of one setting, sizes, breakthroughness, form."""
