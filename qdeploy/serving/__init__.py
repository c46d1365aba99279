"""The HTTP server: OpenAI's API over one loaded bundle, whatever its backend.

server            the process: socket, signals, uvicorn
protocol          time limits of connections
app               the application and its layers
requests_log      the outermost layer: ids, the log, counts
gate              hosts, origins and API keys
keys              API keys of a file or the environment
text_routes       chats
info_routes       models, health, metrics, device and evidence
page_files        the chat page
service           the model that all requests share
queue, work       threads, places, cancelling
observed          one request's view of the session
body              a request's body, within limits
fields            how requests' fields are checked or refused
generate_fields   those that chats and completions have in common
chat_request      those of chats
reply             answers on their way, whole or streamed
replies, events   their JSON
errors            errors in OpenAI's shape
record            what the log and the metrics say of a request
logs, metrics     where they say it
settings          what a server is told at its start
extra             whether its libraries are installed
"""
