# frozen_string_literal: true

require "fileutils"
require "socket"
require "tmpdir"

# An SQLite file that goes when the proof is done; in memory where there is such a place, for nothing here is about lost power.
class SqlitePlace
  def self.open
    Dir.mktmpdir("changeover-legacy-", File.writable?("/dev/shm") ? "/dev/shm" : nil) { |directory| yield new(directory) }
  end

  def initialize(directory)
    @directory = directory
  end

  attr_reader :directory

  def application_url = "sqlite3:#{@directory}/videos.db"
  def changeover_url = "sqlite:#{@directory}/videos.db"
  def schema = "schema.sqlite.sql"
  def cleanings = %w[transaction deletion]

  def execute(sql)
    connected { |database| database.execute_batch2(sql) }
  end

  # Rows of texts.
  def rows(sql)
    connected { |database| database.execute(sql).map { |row| row.map { |value| value&.to_s } } }
  end

  private

  def connected
    require "sqlite3"
    database = SQLite3::Database.new("#{@directory}/videos.db")
    database.busy_timeout = 20_000
    database.execute("PRAGMA foreign_keys = ON")
    yield database
  ensure
    database&.close
  end
end

# A database on a PostgreSQL cluster of the proof's own, or on the server of CHANGEOVER_TEST_POSTGRES_URL.
class PostgresPlace
  def self.open
    Dir.mktmpdir("changeover-legacy-") do |directory|
      existing = ENV["CHANGEOVER_TEST_POSTGRES_URL"].to_s
      next with_database(existing, directory) { |place| yield place } unless existing.empty?

      begin
        yield_cluster(directory) { |url| with_database(url, directory) { |place| yield place } }
      ensure
        as_owner("pg_ctl", "stop", "-s", "-m", "immediate", "-D", "#{directory}/cluster/data")
      end
    end
  end

  def self.yield_cluster(directory)
    home = "#{directory}/cluster"
    Dir.mkdir(home)
    FileUtils.chmod(0o755, directory)
    FileUtils.chown("nobody", nil, home) if Process.uid.zero?
    as_owner("initdb", "-D", "#{home}/data", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync", out: File::NULL) or raise "initdb failed"
    port = TCPServer.open("127.0.0.1", 0) { |free| free.addr[1] }
    as_owner("pg_ctl", "-s", "-w", "start", "-D", "#{home}/data", "-l", "#{home}/log", "-o",
             "-p #{port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off") or raise "the cluster does not start: #{home}/log"
    yield "postgres://postgres@127.0.0.1:#{port}/postgres"
  end

  # PostgreSQL refuses to run as root.
  def self.as_owner(program, *arguments, **options)
    path = (Dir["/usr/lib/postgresql/*/bin/#{program}"].max_by { |found| found[%r{/(\d+)/}, 1].to_i } || program)
    user = Process.uid.zero? ? %w[setpriv --reuid nobody --clear-groups] : []
    system(*user, path, *arguments, **options, chdir: "/")
  end

  def self.with_database(url, directory)
    require "pg"
    name = "legacy_#{Process.pid}"
    PG.connect(url) { |connection| connection.exec("CREATE DATABASE #{name}") }
    yield new(url.sub(%r{/[^/?]*(?=\?|\z)}, "/#{name}"), directory)
  ensure
    PG.connect(url) { |connection| connection.exec("DROP DATABASE IF EXISTS #{name}") } if url
  end

  private_class_method :yield_cluster, :as_owner, :with_database

  def initialize(url, directory)
    @url = url
    @directory = directory
  end

  attr_reader :directory

  def application_url = @url.sub(/\Apostgres:/, "postgresql:")
  def changeover_url = @url
  def schema = "schema.postgres.sql"
  def cleanings = %w[transaction deletion truncation]

  def execute(sql)
    PG.connect(@url) { |connection| connection.exec(sql) }
  end

  def rows(sql)
    PG.connect(@url) { |connection| connection.exec(sql).values }
  end
end
