# frozen_string_literal: true

require "json"
require "socket"

# Answers as the block says: it is given a request and returns [status, headers, body], :closed, :silent, or a Hash (200, JSON).
class ToldServer
  Request = Struct.new(:verb, :path, :headers, :body) do
    def json
      JSON.parse(body)
    end
  end

  attr_reader :requests

  def initialize(&block)
    @listening = TCPServer.new("127.0.0.1", 0)
    @block = block
    @requests = []
    @threads = []
    @main = Thread.new { loop { accept(@listening.accept) } }
    @main.report_on_exception = false
  end

  def url
    "http://127.0.0.1:#{@listening.addr[1]}"
  end

  def token
    "a-token"
  end

  def stop
    @main.kill
    @threads.each(&:kill)
    @listening.close
  end

  private

  def accept(socket)
    @threads << Thread.new do
      Thread.current.report_on_exception = false
      while (request = read(socket))
        answer(socket, request) or break
      end
    rescue SystemCallError, IOError
      nil
    ensure
      socket.close
    end
  end

  def read(socket)
    verb, path = socket.gets&.split
    return unless verb

    headers = {}
    while (line = socket.gets&.chomp) && !line.empty?
      name, value = line.split(": ", 2)
      headers[name.downcase] = value
    end
    body = socket.read(headers["content-length"].to_i) if headers["content-length"]
    Request.new(verb, path, headers, body)
  end

  def answer(socket, request)
    if request.path.start_with?("/ofrep/v1/events")
      socket.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
      return true
    end
    @requests << request
    told = @block.call(request)
    return sleep if told == :silent
    return if told == :closed

    status, headers, body = told.is_a?(Hash) ? [200, { "Content-Type" => "application/json" }, JSON.generate(told)] : told
    socket.write("HTTP/1.1 #{status} Told\r\n#{headers.map { |name, value| "#{name}: #{value}\r\n" }.join}Content-Length: #{body.bytesize}\r\n\r\n#{body}")
    true
  end
end
