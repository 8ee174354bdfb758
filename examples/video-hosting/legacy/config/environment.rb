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

root = File.expand_path("..", __dir__)
require "#{root}/app/models/application_record"
%w[models services jobs].each { |folder| Dir["#{root}/app/#{folder}/*.rb"].sort.each { |file| require file } }
