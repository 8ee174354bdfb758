# frozen_string_literal: true

require "digest"
require "open3"
require "rbconfig"

# The application as it is: its programs, and a checksum of every file of it.
class Application
  ROOT = File.expand_path("..", __dir__)
  SOURCE = %w[app bin config db test].freeze

  class Failed < StandardError; end

  def self.checksums
    SOURCE.flat_map { |folder| Dir["#{ROOT}/#{folder}/**/*"] }.select { |path| File.file?(path) }.sort
          .to_h { |path| [path.delete_prefix("#{ROOT}/"), Digest::SHA256.file(path).hexdigest] }
  end

  def initialize(url)
    @url = url
  end

  def set_up
    program("bin/setup")
  end

  # The line in which minitest sums up.
  def test(cleaning)
    program("bin/test", "CLEANING" => cleaning)[/^\d+ runs.*/] or raise Failed, "bin/test said nothing"
  end

  # The nightly job: over all that there is, also what new code has made of it.
  def night
    program("bin/night").lines.last.chomp
  end

  # What the few new lines print.
  def cohort(period, environment)
    program("cohort.rb", { "RUBYLIB" => File.expand_path("../../../clients/ruby/lib", ROOT) }.merge(environment), period).lines.last
  end

  private

  def program(name, more = {}, *arguments)
    output, status = Open3.capture2e({ "DATABASE_URL" => @url }.merge(more), RbConfig.ruby, "#{ROOT}/#{name}", *arguments)
    status.success? ? output : raise(Failed, "#{name} #{more} failed:\n#{output}")
  end
end
