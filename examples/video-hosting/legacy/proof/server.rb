# frozen_string_literal: true

require "open3"
require "net/http"
require "timeout"

# `changeover serve` on a port of its own, ended with the block.
class Server
  PATIENCE_S = 60

  def self.open(binary, environment)
    server = new(binary, environment)
    yield server
  ensure
    server&.stop
  end

  attr_reader :url, :token

  def initialize(binary, environment)
    @input, @output, @process = Open3.popen2e(environment, binary, "serve", "--bind", "127.0.0.1:0")
    @input.close
    Timeout.timeout(PATIENCE_S) { read_greeting }
    @reader = Thread.new { @output.each_line {} }
    sleep 0.02 until ready?
  end

  def stop
    Process.kill(:TERM, @process.pid)
    @process.join
  rescue Errno::ESRCH
    nil
  end

  private

  def read_greeting
    told = +""
    until @url && @token
      line = @output.gets or raise "the server ended:\n#{told}"
      told << line
      @url ||= line[%r{http://127\.0\.0\.1:[1-9]\d*}]
      @token ||= line[/\bco_\w+_[0-9a-f]{64}/]
    end
  end

  def ready?
    Net::HTTP.get_response(URI("#{@url}/readyz")).is_a?(Net::HTTPOK)
  rescue SystemCallError
    false
  end
end
