# frozen_string_literal: true

require "json"
require "net/http"
require "open3"
require "socket"
require "tmpdir"
require "timeout"

# A real `changeover serve` on SQLite files of its own, and the few requests that tests need.
class Server
  BINARY = ENV.fetch("CHANGEOVER_BINARY")
  EXAMPLE = File.expand_path("../../../examples/video-hosting", __dir__)
  PATIENCE_S = 60

  attr_reader :url, :token, :directory

  def initialize(*more, application: false)
    @more = more
    @directory = Dir.mktmpdir("changeover-ruby-")
    @environment = { "CHANGEOVER_DATABASE_URL" => "sqlite:#{@directory}/service.db" }
    @environment["CHANGEOVER_APP_DATABASE_URL"] = "sqlite:#{@directory}/app.db" if application
    @port = TCPServer.open("127.0.0.1", 0) { |free| free.addr[1] }
    install if application
    start
  end

  def start
    @input, @output, @process = Open3.popen2e(@environment, BINARY, "serve", "--bind", "127.0.0.1:#{@port}", *@more)
    @input.close
    @url = "http://127.0.0.1:#{@port}"
    @told = Queue.new
    output = @output
    told = @told
    @reader = Thread.new { output.each_line { |line| told << line } }
    @reader.report_on_exception = false
    Timeout.timeout(PATIENCE_S) do
      sleep 0.02 until ready?
      @token ||= loop { (found = @told.pop[/\bco_\w+_[0-9a-f]{64}/]) and break found }
    end
  end

  def kill
    Process.kill(:KILL, @process.pid)
    @process.join
    @output.close
  rescue Errno::ESRCH, IOError
    nil
  end

  def stop
    kill
    FileUtils.rm_rf(@directory)
  end

  # The server's own files are moved away: its database cannot be reached any more.
  def database_away
    File.rename("#{@directory}/service.db", "#{@directory}/service.away")
    Dir.mkdir("#{@directory}/service.db")
  end

  def request(verb, path, body = nil, token: @token, fails: true, type: "application/json")
    message = Net::HTTP.const_get(verb).new(path, { "Authorization" => "Bearer #{token}", "Content-Type" => type })
    message.body = body.is_a?(String) ? body : JSON.generate(body) unless body.nil?
    response = Net::HTTP.start("127.0.0.1", @port) { |http| http.request(message) }
    raise "#{verb} #{path}: #{response.code} #{response.body}" if fails && response.code.to_i >= 400

    response.body.to_s.empty? ? nil : JSON.parse(response.body)
  end

  def command(*arguments)
    output, status = Open3.capture2e(@environment, BINARY, *arguments)
    raise "changeover #{arguments.join(' ')}: #{output}" unless status.success?

    output
  end

  def token_of(role)
    request(:Post, "/api/v1/tokens", { name: "#{role}-#{rand(2**40)}", role: role }).fetch("secret")
  end

  def flag(key, variants, default, type: nil, **more)
    type ||= { TrueClass => "boolean", FalseClass => "boolean", String => "string", Integer => "integer", Float => "float" }.fetch(variants.values.first.class, "object")
    request(:Post, "/api/v1/flags", { key: key, type: type, variants: variants, default_variant: default, off_variant: default }.merge(more))
  end

  def serve(key, variant)
    kept = request(:Get, "/api/v1/flags/#{key}")
    put(key, kept.fetch("flag").merge("default_variant" => variant), kept.fetch("version"))
  end

  private

  def put(key, flag, version)
    message = Net::HTTP::Put.new("/api/v1/flags/#{key}", { "Authorization" => "Bearer #{@token}", "Content-Type" => "application/json", "If-Match" => "\"#{version}\"" })
    message.body = JSON.generate(flag.compact)
    response = Net::HTTP.start("127.0.0.1", @port) { |http| http.request(message) }
    raise "#{response.code} #{response.body}" unless response.code == "200"
  end

  def install
    require "sqlite3"
    database = SQLite3::Database.new("#{@directory}/app.db")
    database.execute_batch2(File.read("#{EXAMPLE}/schema.sqlite.sql"))
    database.execute_batch2("INSERT INTO users (id, name, company) VALUES (1, 'Ada', 'Ada Ltd'), (2, 'Grace', NULL);
      INSERT INTO videos (id, user_id, title) VALUES (1, 1, 'a'), (2, 2, 'b');
      INSERT INTO charges (id, user_id, video_id, period, currency, amount_minor) VALUES (1, 1, 1, '2026-12', 'EUR', 1000), (2, 2, 2, '2026-12', 'EUR', 500);")
    database.close
    command("change", "install", "#{EXAMPLE}/change.toml")
    command("change", "stage", "billing-allocation", "dualwrite")
    command("backfill", "billing-allocation")
  end

  def ready?
    raise "the server ended" unless @process.alive?

    Net::HTTP.get_response(URI("#{@url}/readyz")).is_a?(Net::HTTPOK)
  rescue SystemCallError
    false
  end
end
