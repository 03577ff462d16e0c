"""The JSON that the HTTP API sends, the client reads and the command line prints."""

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Row = dict[str, Json]
