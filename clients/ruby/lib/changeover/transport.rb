# frozen_string_literal: true

require "json"
require "net/http"
require "openssl"
require "time"
require "timeout"
require "uri"
require "zlib"

module Changeover
  # Requests over connections that are kept open. Neither redirects nor proxies of the environment are followed: the token goes to the
  # server alone. Thread-safe; after a fork the child opens its own connections.
  class Transport
    Response = Struct.new(:status, :headers, :body) do
      def success?
        status.between?(200, 299)
      end

      # What the body says, or nil if it is no JSON.
      def parsed(freeze: false)
        JSON.parse(body, freeze: freeze)
      rescue JSON::ParserError
        nil
      end

      # The object that a success is.
      def json
        document = checked.parsed
        return document if document.is_a?(Hash) || document.is_a?(Array)

        raise Unexpected.new("the server's answer is no JSON: #{body[0, 100].inspect}", status: status)
      end

      # Seconds, from a header in seconds or with a date; what is past or makes no sense does not count.
      def retry_after
        text = headers["retry-after"]&.first or return
        seconds = text.match?(/\A\d+\z/) ? text.to_i : Time.httpdate(text) - Time.now
        seconds if seconds >= 0
      rescue ArgumentError
        nil
      end

      # Raises the error that this answer is, unless it is none.
      def checked
        success? ? self : raise(Errors.from(status, parsed, retry_after))
      end
    end

    class Late < StandardError; end

    IDLE_MAX = 16
    IDLE_SECONDS = 20
    FAILURES = [SystemCallError, SocketError, IOError, EOFError, OpenSSL::SSL::SSLError, Net::ProtocolError, Net::HTTPBadResponse,
                Net::HTTPHeaderSyntaxError, Zlib::Error].freeze

    attr_reader :timeout, :url

    # @param retries [Retries] for `again`
    def initialize(url, token, timeout, retries: Retries.new)
      @url = url.to_s.chomp("/")
      @retries = retries
      @base = URI(url.to_s.chomp("/"))
      raise ArgumentError, "url is #{url.inspect}: http://host:port or https://host, and a path if there is one" unless @base.is_a?(URI::HTTP) && @base.host

      @token = token
      @timeout = timeout
      @idle = []
      @lock = Mutex.new
      @process = Process.pid
    end

    def get(path, **options)
      request(Net::HTTP::Get, path, nil, **options)
    end

    def post(path, body, **options)
      request(Net::HTTP::Post, path, body, **options)
    end

    def put(path, body, **options)
      request(Net::HTTP::Put, path, body, **options)
    end

    def delete(path, body = nil, **options)
      request(Net::HTTP::Delete, path, body, **options)
    end

    # A request that does no harm when it is made twice: tried again after failures that pass.
    def again(verb, path, *body, **options)
      @retries.run { public_send(verb, path, *body, **options).checked }
    end

    # One request, answered in the timeout or not at all. `body`: a String, or what is sent as JSON.
    def request(kind, path, body, headers: {}, timeout: @timeout)
      message = prepared(kind, path, body, headers)
      Timeout.timeout(timeout, Late) { with_connection(timeout) { |http| answer(http, message) } }
    rescue Late, Net::OpenTimeout, Net::ReadTimeout, Net::WriteTimeout
      raise TimedOut, "no answer within #{timeout} s"
    rescue *FAILURES => e
      raise ConnectionFailed, "#{@base.host}:#{@base.port}: #{e.message} (#{e.class})"
    end

    # The body of a long answer, piece by piece, with its response first. `silence`: seconds without a byte that end it.
    def stream(path, headers: {}, silence: 60)
      http = connect(@timeout)
      http.read_timeout = silence
      message = prepared(Net::HTTP::Get, path, nil, headers)
      http.request(message) { |response| yield response, http }
    rescue Net::OpenTimeout, Net::ReadTimeout, Net::WriteTimeout
      raise TimedOut, "nothing was heard for #{silence} s"
    rescue *FAILURES => e
      raise ConnectionFailed, "#{@base.host}:#{@base.port}: #{e.message} (#{e.class})"
    ensure
      http&.finish if http&.started?
    end

    def close
      @lock.synchronize { @idle.slice!(0..) }.each { |http, _| finish(http) }
    end

    private

    def prepared(kind, path, body, headers)
      message = kind.new("#{@base.path}#{path}", { "Accept" => "application/json", "User-Agent" => "changeover-ruby/#{VERSION}" }.merge(headers))
      message["Authorization"] = "Bearer #{@token}" if @token
      unless body.nil?
        message["Content-Type"] ||= "application/json"
        message.body = body.is_a?(String) ? body : JSON.generate(body)
      end
      message
    end

    def answer(http, message)
      response = http.request(message)
      Response.new(response.code.to_i, response.to_hash, (response.body || "").dup.force_encoding(Encoding::UTF_8))
    end

    # A connection that was idle may have been closed by the server meanwhile: then a new one is tried, once.
    def with_connection(timeout)
      http = take
      kept = !http.nil?
      begin
        http ||= connect(timeout)
        http.read_timeout = http.write_timeout = timeout
        result = yield http
        give_back(http)
        http = nil
        result
      rescue EOFError, Errno::ECONNRESET, Errno::EPIPE, Errno::ECONNABORTED, IOError
        raise unless kept

        finish(http)
        http = nil
        kept = false
        retry
      end
    ensure
      finish(http) if http
    end

    def connect(timeout)
      http = Net::HTTP.new(@base.host, @base.port, nil)
      http.use_ssl = @base.scheme == "https"
      http.open_timeout = http.ssl_timeout = http.read_timeout = http.write_timeout = timeout
      http.max_retries = 0
      http.keep_alive_timeout = IDLE_SECONDS
      http.start
    end

    def take
      @lock.synchronize do
        if @process != Process.pid
          @idle.clear
          @process = Process.pid
        end
        now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        @idle.shift while @idle.any? && now - @idle.first.last > IDLE_SECONDS
        @idle.pop&.first
      end
    end

    def give_back(http)
      full = @lock.synchronize do
        @idle.size >= IDLE_MAX || (@idle.push([http, Process.clock_gettime(Process::CLOCK_MONOTONIC)]) && false)
      end
      finish(http) if full
    end

    def finish(http)
      http.finish if http.started?
    rescue IOError, SystemCallError, OpenSSL::SSL::SSLError
      nil
    end
  end
end
