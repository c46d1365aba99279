"""The HTTP server: OpenAI's API over one loaded bundle, whatever its backend.

server            the process: socket, signals, uvicorn
protocol          time limits of connections
app               the application and its layers
requests_log      the outermost layer: ids, the log, counts
gate              hosts, origins and API keys
keys              API keys of a file or the environment
text              chats and completions, a folder
encode_routes     embeddings and reranking
info_routes       models, health, metrics, device and evidence
page_files        the chat page
service           the model that all requests share
queue, work       threads, places, cancelling
probe             whether the runtime works
observed          one request's view of the session
body              a request's body, within limits
fields            how requests' fields are checked or refused
reply             answers on their way, whole or streamed
events            server-sent events
made              what an answer has to be
errors            errors in OpenAI's shape
record            what the log and the metrics say of a request
logs, metrics     where they say it
nodes             a bundle over several machines
settings          what a server is told at its start
extra             whether its libraries are installed
"""
