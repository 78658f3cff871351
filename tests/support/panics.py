"""Updates on which pycrdt panics, at least in some documents; no client makes them."""

PANICS = tuple(
    map(
        bytes.fromhex,
        (
            # A struct that is empty.
            "0102cac2c0fcd3e0b50c000101016101000001cac2c0fcd3e0b50c010004",
            # A client without structs.
            "010087b7b580b0e6eb0d0001010174018487b7b580b0e6eb0d0001620187b7b580b0e6eb0d010001",
            # A clock that does not fit into 32 bits.
            "01030181c28aeabae908000101ff6101000304010174046162616201f081c28aeabae908010004",
            # A client that is named twice, before one without structs.
            "0301090004010161017801090104010161017900050000",
            # A struct with a bit that nobody sets, before a client without structs.
            "0201090014010161017800050000",
        ),
    )
)
