from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from greeting import greet


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = greet("Naru").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("0.0.0.0", 80), Page)
print("serving", flush=True)
server.serve_forever()
