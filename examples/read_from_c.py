"""Shows what examples/producer.c sends; see there how to compile it. Run it: python examples/read_from_c.py"""

import ringipc

with ringipc.Consumer("example-c", timeout=10) as consumer:
    for message in consumer:
        if isinstance(message, bytes):
            print(message.decode())
        else:
            print(f"{message.dtype} {message.shape}: {message.min():+.3f} to {message.max():+.3f}")
