# frozen_string_literal: true

# Loads the application. DATABASE_URL names its database: sqlite3:/path/to/videos.db or postgresql://user@host/name.
require "logger"
require "active_record"

ActiveRecord::Base.establish_connection(
  url: ENV.fetch("DATABASE_URL") { abort "DATABASE_URL is not set, such as sqlite3:/tmp/videos.db" },
  pool: 16, timeout: 20_000
)
ActiveRecord::Base.logger = Logger.new($stderr) if ENV["VERBOSE"]
ActiveRecord::Base.default_timezone = :utc

# Threads on SQLite: who wants to write says so when the transaction begins, and waits without holding Ruby's lock.
if ActiveRecord::Base.connection.adapter_name == "SQLite"
  ActiveRecord::ConnectionAdapters::SQLite3Adapter.prepend(Module.new do
    def begin_db_transaction
      log("begin immediate transaction", nil) { @connection.transaction(:immediate) }
    end

    def configure_connection
      super
      @connection.busy_handler { |tries| sleep(0.002) || tries < 10_000 }
    end
  end)
  ActiveRecord::Base.connection_pool.disconnect!
end

root = File.expand_path("..", __dir__)
require "#{root}/app/models/application_record"
%w[models services jobs].each { |folder| Dir["#{root}/app/#{folder}/*.rb"].sort.each { |file| require file } }
