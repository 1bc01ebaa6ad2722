"""Request and reply: clients call servers, over a channel of requests and a channel of replies for each client.

The servers of a service are the members of one shared group, so each request goes to one of them, and the requests of
a server that is killed go to another. Each client has a channel of its own for replies, in which every server that
answers it has a lane. The label of the client's lane of requests says where that channel is (`reply_channel`). The type
of a request is its number, and its reply has the same type, so no payload is wrapped.
"""

from .client import Client
from .server import Request, Server

__all__ = ["Client", "Request", "Server"]
